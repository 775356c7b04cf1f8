//! Whatever happened, the node converges, a second plan is empty, and what is not ours is never touched.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lvs_crds::{RealServerSpec, VirtualServiceSpec};
use lvs_plan::object::{Kind, Object, ObjectKey, Spec};
use lvs_plan::{Change, DestinationKey, DestinationSettings, Forwarding, Service};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kernel::fake::FakeKernel;
use crate::kernel::{HostAddress, Table};

const VIPS: [&str; 2] = ["172.16.21.10", "172.16.21.11"];
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
    /// Somebody else's doing in the kernel.
    RemoveService(usize),
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
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let kind = || prop_oneof![Just(Kind::VirtualService), Just(Kind::RealServer)];
    prop_oneof![
        4 => (0..4usize, 0..2usize, 0..3usize, 0..3usize, 0..2usize)
            .prop_map(|(name, vip, port, scheduler, app)| H::Declare { name, vip, port, scheduler, app }),
        4 => (0..5usize, 1..6u8, 0..4i32, 0..2usize, any::<bool>())
            .prop_map(|(name, host, weight, app, drain)| H::Serve { name, host, weight, app, drain }),
        1 => (kind(), 0..4usize).prop_map(|(kind, name)| H::Spoil { kind, name }),
        2 => (kind(), 0..4usize).prop_map(|(kind, name)| H::Withdraw { kind, name }),
        1 => any::<bool>().prop_map(H::Block),
        1 => Just(H::Restart),
        4 => Just(H::Pass),
        1 => (0..8usize).prop_map(H::RemoveService),
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
    ]
}

/// The node, and beside it what the test knows to be somebody else's.
struct World {
    directory: tempfile::TempDir,
    driver: Driver<FakeKernel>,
    objects: BTreeMap<ObjectKey, Object>,
    foreign: Table,
    foreign_addresses: Vec<HostAddress>,
    role: Role,
    now: Instant,
}

fn ledger(directory: &Path) -> Ledger {
    Ledger::open(directory, "boot", 1).expect("the test's own directory")
}

fn driver(kernel: FakeKernel, directory: &Path, now: Instant) -> Driver<FakeKernel> {
    Driver::new(kernel, ledger(directory), Board::default(), Metrics::default(), now)
}

fn complete() -> SourceState {
    SourceState { complete: true, up_to_date: true, ..SourceState::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("a test's address")
}

fn foreign_service() -> Service {
    let settings = lvs_plan::ServiceSettings {
        scheduler: "fo".into(),
        one_packet: false,
        scheduler_flags: 0,
        persistence: None,
    };
    let destination = DestinationKey { address: address("10.9.9.9"), port: 90 };
    let masquerade = DestinationSettings {
        weight: 9,
        forwarding: Forwarding::Masquerade,
        upper_threshold: 0,
        lower_threshold: 0,
    };
    Service { settings, destinations: BTreeMap::from([(destination, masquerade)]) }
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the ledger");
        let now = Instant::now();
        let driver = driver(FakeKernel::new(), directory.path(), now);
        let mut world = Self {
            directory,
            driver,
            objects: BTreeMap::new(),
            foreign: Table::new(),
            foreign_addresses: Vec::new(),
            role: Role::Active,
            now,
        };
        world.ingest(Vec::new());
        world
    }

    fn ingest(&mut self, changes: Vec<Change>) {
        self.driver.ingest(Update { changes, state: complete() });
    }

    fn upsert(&mut self, kind: Kind, name: usize, app: usize, spec: Spec) {
        let key = ObjectKey::new(kind, "default", &name.to_string());
        let labels = BTreeMap::from([("app".to_owned(), app.to_string())]);
        let created = i64::try_from(name).expect("a small number");
        let object =
            Object { key: key.clone(), uid: String::new(), generation: 1, created, labels, file: None, spec };
        self.objects.insert(key, object.clone());
        self.ingest(vec![Change::Upsert(object)]);
    }

    /// The `index`th of our services in the kernel, going round.
    fn ours(&mut self, index: usize) -> Option<(ServiceKey, &mut Service)> {
        let foreign = &self.foreign;
        let mut ours: Vec<_> =
            self.driver.kernel.table.iter_mut().filter(|(key, _)| !foreign.contains_key(key)).collect();
        let count = ours.len();
        (count > 0).then(|| ours.swap_remove(index % count)).map(|(key, service)| (*key, service))
    }

    #[allow(clippy::needless_pass_by_value)] // a happening is used up
    fn happen(&mut self, happening: Happening) {
        use Happening as H;
        match happening {
            H::Declare { name, vip, port, scheduler, app } => {
                let scheduler = ["rr", "wrr", "wlc"][scheduler];
                let spec: VirtualServiceSpec = serde_json::from_value(json!({
                    "vip": VIPS[vip], "ports": [{"port": PORTS[port]}],
                    "scheduler": scheduler,
                    "realServerSelector": {"matchLabels": {"app": app.to_string()}},
                }))
                .expect("a spec");
                self.upsert(Kind::VirtualService, name, 0, Spec::VirtualService(Arc::new(spec)));
            }
            H::Serve { name, host, weight, app, drain } => {
                let spec: RealServerSpec = serde_json::from_value(json!({
                    "address": format!("192.168.40.{host}"), "weight": weight, "drain": drain,
                }))
                .expect("a spec");
                self.upsert(Kind::RealServer, name, app, Spec::RealServer(Arc::new(spec)));
            }
            H::Spoil { kind, name } => {
                let spec = match kind {
                    Kind::VirtualService => {
                        let spec = json!({"vip": "127.0.0.1", "ports": [{"port": 80}]});
                        Spec::VirtualService(Arc::new(serde_json::from_value(spec).expect("a spec")))
                    }
                    Kind::RealServer => {
                        let spec = json!({"address": "0.0.0.0"});
                        Spec::RealServer(Arc::new(serde_json::from_value(spec).expect("a spec")))
                    }
                };
                self.upsert(kind, name, 0, spec);
            }
            H::Withdraw { kind, name } => {
                let key = ObjectKey::new(kind, "default", &name.to_string());
                self.objects.remove(&key);
                self.ingest(vec![Change::Removed(key)]);
            }
            H::Block(blocked) => {
                self.role = if blocked { Role::Blocked { peer: "d0".to_owned() } } else { Role::Active };
                self.driver.set_role(self.role.clone());
            }
            H::Restart => self.restart(),
            H::Pass => {
                self.pass(Scope::Changes);
            }
            H::RemoveService(index) => {
                if let Some((key, _)) = self.ours(index) {
                    self.driver.kernel.table.remove(&key);
                }
            }
            H::RemoveDestination(index) => {
                if let Some((_, service)) = self.ours(index) {
                    service.destinations.pop_first();
                }
            }
            H::AddDestination(index) => {
                if let Some((key, service)) = self.ours(index) {
                    let intruder = foreign_service().destinations.into_values().next().expect("it has one");
                    let at = DestinationKey { address: address("10.8.8.8"), port: key.port() };
                    service.destinations.insert(at, intruder);
                }
            }
            H::ChangeWeight(index) => {
                if let Some((_, service)) = self.ours(index) {
                    service.destinations.values_mut().for_each(|destination| destination.weight += 7);
                }
            }
            H::RemoveAddress(index) => {
                let on_our_link = self.driver.kernel.addresses.iter().filter(|bound| &*bound.link == "eth0");
                let ours: Vec<IpAddr> = on_our_link.map(|bound| bound.address).collect();
                if let Some(vip) = ours.get(index % ours.len().max(1)) {
                    self.driver
                        .kernel
                        .addresses
                        .retain(|bound| bound.address != *vip || &*bound.link != "eth0");
                    self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
                }
            }
            H::AddForeignService { vip, port } => {
                let key = ServiceKey::Address {
                    vip: address(VIPS[vip]),
                    protocol: lvs_crds::Protocol::Tcp,
                    port: FOREIGN_PORTS[port],
                };
                // What is in the ledger is ours, whoever touches it; only a free key can become foreign.
                if !self.driver.kernel.table.contains_key(&key) && !self.driver.ledger.is_ours(&key) {
                    self.driver.kernel.table.insert(key, foreign_service());
                    self.foreign.insert(key, foreign_service());
                }
            }
            H::RemoveForeignService(index) => {
                let keys: Vec<ServiceKey> = self.foreign.keys().copied().collect();
                if let Some(key) = keys.get(index) {
                    self.foreign.remove(key);
                    self.driver.kernel.table.remove(key);
                }
            }
            H::AddForeignAddress(vip) => {
                let vip = address(VIPS[vip]);
                let present = self.driver.kernel.addresses.iter().any(|bound| bound.address == vip);
                if !present && self.driver.ledger.vip_link(vip).is_none() {
                    let bound =
                        HostAddress { address: vip, link: "eth7".into(), link_index: 7, tagged: false };
                    self.driver.kernel.addresses.push(bound.clone());
                    self.foreign_addresses.push(bound);
                    self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
                }
            }
            H::StrangerHolds { vip, holds } => {
                let vip = address(VIPS[vip]);
                if holds {
                    self.driver.kernel.strangers.insert(vip, [2, 0, 0, 0, 0, 9]);
                } else {
                    self.driver.kernel.strangers.remove(&vip);
                }
            }
            H::FailNext(steps) => {
                self.driver
                    .kernel
                    .failures
                    .extend((0..steps).map(|step| Some([12, 22, 3][usize::from(step) % 3])));
            }
            H::CutShort => self.driver.kernel.short_reads = 1,
            H::LedgerReadOnly(read_only) => self.ledger_read_only(read_only),
            H::LinkGone(gone) => self.link_gone(gone),
        }
    }

    /// Makes every write of the ledger fail, for root too: the names of its new files are taken by directories.
    fn ledger_read_only(&mut self, read_only: bool) {
        for name in ["ledger.json.new", "ledger.journal.new"] {
            let in_the_way = self.directory.path().join(name);
            // Either may be as it should be already.
            let _ = if read_only { std::fs::create_dir(in_the_way) } else { std::fs::remove_dir(in_the_way) };
        }
        if read_only {
            self.driver.ledger.forget_journal();
        }
    }

    fn link_gone(&mut self, gone: bool) {
        self.driver.kernel.link = (!gone).then(|| "eth0".into());
        if gone {
            self.driver.kernel.addresses.retain(|bound| &*bound.link != "eth0");
        }
        self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
    }

    fn restart(&mut self) {
        let kernel = std::mem::take(&mut self.driver.kernel);
        // The old driver goes first, and with it the lock on the state directory.
        self.driver = {
            let empty = tempfile::tempdir().expect("a directory");
            let old = std::mem::replace(&mut self.driver, driver(FakeKernel::new(), empty.path(), self.now));
            drop(old);
            driver(kernel, self.directory.path(), self.now)
        };
        self.driver.set_role(self.role.clone());
        let changes = self.objects.values().cloned().map(Change::Upsert).collect();
        self.ingest(changes);
    }

    /// A pass, and then the network's answers to what it asked. Says whether it asked something.
    fn pass(&mut self, scope: Scope) -> (PassReport, bool) {
        self.now += Duration::from_secs(1);
        let report = self.driver.pass(scope, self.now);
        let answers = self.driver.kernel.answer_probes();
        let asked = !answers.is_empty();
        self.driver.probed(answers, self.now);
        (report, asked)
    }

    /// Faults have ended: how many passes until one has nothing to do.
    fn converge(&mut self) {
        self.driver.kernel.failures.clear();
        self.driver.kernel.short_reads = 0;
        self.ledger_read_only(false);
        self.link_gone(false);
        // Long enough for every answer of a probe to be asked again.
        self.now += Duration::from_secs(60);
        for _ in 0..8 {
            let (report, asked) = self.pass(Scope::Full);
            if report.applied.is_empty() && report.failed.is_none() && report.adopted == 0 && !asked {
                break;
            }
        }
    }

    fn check(&mut self) {
        let writes = self.driver.kernel.writes.len();
        let (last, _) = self.pass(Scope::Full);
        assert!(last.applied.is_empty(), "the second plan is empty: {:?}", last.applied);
        assert_eq!(self.driver.kernel.writes.len(), writes);

        for (key, service) in &self.foreign {
            assert_eq!(self.driver.kernel.table.get(key), Some(service), "foreign {key} is untouched");
        }
        for bound in &self.foreign_addresses {
            assert!(self.driver.kernel.addresses.contains(bound), "foreign {bound:?} is untouched");
        }
        let desired: BTreeMap<ServiceKey, Service> = self
            .driver
            .inventory
            .desired_services()
            .filter(|(key, _)| !self.foreign.contains_key(key))
            .map(|(key, wanted)| {
                let destinations = wanted.destinations.iter().map(|(key, wanted)| (*key, wanted.settings));
                (*key, Service { settings: wanted.settings().clone(), destinations: destinations.collect() })
            })
            .collect();
        let held: BTreeSet<ServiceKey> =
            self.driver.ledger.services().filter(|key| !desired.contains_key(key)).collect();
        for (key, service) in &self.driver.kernel.table {
            if self.foreign.contains_key(key) || held.contains(key) {
                continue;
            }
            let wanted = desired.get(key).unwrap_or_else(|| panic!("nobody asked for {key}"));
            assert_eq!(&service.settings, &wanted.settings);
            if self.driver.inventory.unsettled_real_servers("default").next().is_none() {
                assert_eq!(&service.destinations, &wanted.destinations, "{key}");
            } else {
                for (at, settings) in &wanted.destinations {
                    assert_eq!(service.destinations.get(at), Some(settings), "{key} -> {at}");
                }
            }
        }
        for key in desired.keys() {
            assert!(self.driver.kernel.table.contains_key(key), "{key} is programmed");
            let outcome = self.driver.outcomes.get(key).map(|outcome| &outcome.programming);
            assert_eq!(outcome, Some(&Programming::Programmed), "{key} is known to be programmed");
        }
        for key in held {
            let origin = self.driver.ledger.origin(&key).expect("it is in the ledger");
            assert!(self.driver.inventory.is_unsettled(&origin.object), "{key} is kept for a reason");
        }
        let bound: BTreeSet<IpAddr> =
            self.driver.kernel.addresses.iter().map(|bound| bound.address).collect();
        for address in self.driver.kernel.addresses.iter().filter(|bound| &*bound.link == "eth0") {
            assert_eq!(self.role, Role::Active, "a blocked Director holds nothing");
            let used = self.driver.kernel.table.keys().any(|key| key.vip() == Some(address.address));
            assert!(used, "{} is bound for somebody", address.address);
        }
        for vip in desired.keys().filter_map(ServiceKey::vip) {
            let free = self.role == Role::Active && !self.driver.kernel.strangers.contains_key(&vip);
            assert!(bound.contains(&vip) || !free, "{vip} is bound");
        }
        // Nobody is woken for nothing: what is due lies ahead.
        self.driver.announce(self.now);
        assert!(self.driver.next_deadline().is_none_or(|at| at > self.now), "the driver would spin");
        assert!(!self.driver.wants_pass(self.now));
    }
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
