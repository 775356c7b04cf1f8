//! Whatever happened, the node converges, a second plan is empty, and what is not ours is never touched.

mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lvs_crds::{RealServerSpec, VirtualServiceSpec};
use lvs_plan::diff::Claim;
use lvs_plan::object::{Kind, Object, ObjectKey, Spec};
use lvs_plan::{Change, DestinationKey, DestinationSettings, Forwarding, Service};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kernel::fake::FakeKernel;
use crate::kernel::{HostAddress, Table};
use world::World;

const VIPS: [&str; 2] = ["172.16.21.10", "172.16.21.11"];
/// How real servers are checked.
const CHECKS: [&str; 3] = ["none", "tcp", "ping"];
const PORTS: [u16; 3] = [80, 81, 90];
/// Two of these are wanted by virtual services now and then.
const FOREIGN_PORTS: [u16; 2] = [90, 91];

/// Something that happens to the node.
#[derive(Clone, Debug)]
enum Happening {
    Declare {
        name: usize,
        vip: usize,
        port: usize,
        scheduler: usize,
        app: usize,
        check: usize,
    },
    Serve {
        name: usize,
        host: u8,
        weight: i32,
        app: usize,
        drain: bool,
    },
    /// A spec that breaks a rule.
    Spoil {
        kind: Kind,
        name: usize,
    },
    Withdraw {
        kind: Kind,
        name: usize,
    },
    Block(bool),
    Restart,
    Pass,
    /// The agent dies in a pass after so many steps and is started again.
    Die(usize),
    /// Every check of a host has come to this verdict.
    Checked {
        host: u8,
        works: bool,
    },
    /// Somebody else's doing in the kernel.
    RemoveService(usize),
    /// And makes another in its place, just before we do.
    ReplaceService(usize),
    RemoveDestination(usize),
    AddDestination(usize),
    ChangeWeight(usize),
    RemoveAddress(usize),
    AddForeignService {
        vip: usize,
        port: usize,
    },
    RemoveForeignService(usize),
    AddForeignAddress(usize),
    StrangerHolds {
        vip: usize,
        holds: bool,
    },
    /// Faults.
    FailNext(u8),
    CutShort,
    LedgerReadOnly(bool),
    /// No VIP can be bound, or again.
    LinkGone(bool),
    /// Nobody hears of a VIP, or again.
    NoCarrier(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let kind = || prop_oneof![Just(Kind::VirtualService), Just(Kind::RealServer)];
    prop_oneof![
        4 => (0..4usize, 0..2usize, 0..3usize, 0..3usize, 0..2usize, 0..CHECKS.len()).prop_map(
            |(name, vip, port, scheduler, app, check)| H::Declare { name, vip, port, scheduler, app, check }
        ),
        4 => (1..6u8, any::<bool>()).prop_map(|(host, works)| H::Checked { host, works }),
        4 => (0..5usize, 1..6u8, 0..4i32, 0..2usize, any::<bool>())
            .prop_map(|(name, host, weight, app, drain)| H::Serve { name, host, weight, app, drain }),
        1 => (kind(), 0..4usize).prop_map(|(kind, name)| H::Spoil { kind, name }),
        2 => (kind(), 0..4usize).prop_map(|(kind, name)| H::Withdraw { kind, name }),
        1 => any::<bool>().prop_map(H::Block),
        1 => Just(H::Restart),
        4 => Just(H::Pass),
        1 => (0..4usize).prop_map(H::Die),
        1 => (0..8usize).prop_map(H::RemoveService),
        1 => (0..8usize).prop_map(H::ReplaceService),
        1 => (0..8usize).prop_map(H::RemoveDestination),
        1 => (0..8usize).prop_map(H::AddDestination),
        1 => (0..8usize).prop_map(H::ChangeWeight),
        1 => (0..4usize).prop_map(H::RemoveAddress),
        1 => (0..2usize, 0..2usize).prop_map(|(vip, port)| H::AddForeignService { vip, port }),
        1 => (0..4usize).prop_map(H::RemoveForeignService),
        1 => (0..2usize).prop_map(H::AddForeignAddress),
        1 => (0..2usize, any::<bool>()).prop_map(|(vip, holds)| H::StrangerHolds { vip, holds }),
        1 => (1..4u8).prop_map(H::FailNext),
        1 => Just(H::CutShort),
        1 => any::<bool>().prop_map(H::LedgerReadOnly),
        1 => any::<bool>().prop_map(H::LinkGone),
        1 => any::<bool>().prop_map(H::NoCarrier),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn after_anything_the_node_converges_and_leaves_alone_what_is_not_ours(
        happenings in proptest::collection::vec(happening(), 1..40),
        marks_addresses in any::<bool>(),
    ) {
        let mut world = World::new();
        world.driver.kernel.marks_addresses = marks_addresses;
        for happening in happenings {
            world.happen(happening);
        }
        world.converge();
        world.check();
    }
}
