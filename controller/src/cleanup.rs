//! `run --cleanup`: removes what ledger and address marks say is ours, and nothing else.

use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};
use lvs_net::Net;
use lvs_plan::ServiceKey;
use lvs_plan::diff::Claim;
use lvs_plan::step::{Plan, Step};

use crate::agent::{check_capabilities, open_ledger};
use crate::args::Node;
use crate::kernel::linux::LinuxKernel;
use crate::kernel::{Kernel, Table, is_ours};
use crate::ledger::Ledger;

/// Takes every step even if one fails, prints each, and forgets what is gone.
///
/// # Errors
/// If the kernel cannot be read, another agent holds the state directory, or a step failed.
pub fn run(node: &Node) -> Result<ExitCode> {
    check_capabilities()?;
    let mut ledger = open_ledger(node)?;
    if let Some(problem) = ledger.problem() {
        bail!("{problem}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let net = runtime.block_on(async { Net::connect() }).context("cannot open an rtnetlink socket")?;
    let (triggers, _inbox) = mpsc::channel();
    let mut kernel = LinuxKernel::new(runtime.handle().clone(), net, None, triggers);
    let Removal { plan, services, left } = plan(&mut kernel, &ledger)?;
    for key in left {
        eprintln!(
            "left alone: {key}: the agent was stopped while it made or removed it, so it may be somebody else's; if it \
             is not, remove it by hand (ipvsadm -D)"
        );
    }
    for (key, there) in &services {
        ledger.record_leaving(key, there);
    }
    ledger.save()?;
    let applied = plan.carry_out(|steps| kernel.apply(steps));
    let mut failed = 0;
    for (step, result) in applied.results() {
        match result {
            Ok(()) => println!("{step}"),
            Err(error) => {
                failed += 1;
                eprintln!("{step}: failed: {error}");
                continue;
            }
        }
        match step {
            Step::DelService { key } => ledger.forget(key),
            Step::UnbindVip { vip, .. } => ledger.forget_vip(*vip),
            _ => {}
        }
    }
    if failed == 0 {
        // Entries without a service or an address are spent.
        for key in ledger.services().collect::<Vec<_>>() {
            ledger.forget(&key);
        }
        for vip in ledger.vips().collect::<Vec<_>>() {
            ledger.forget_vip(vip);
        }
    }
    ledger.save()?;
    if failed > 0 {
        bail!("{failed} of {} steps failed; run it again when the cause is gone", applied.taken());
    }
    if applied.is_empty() {
        eprintln!("nothing to do: nothing in the kernel is ours");
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be done.
struct Removal {
    plan: Plan,
    /// The services that go.
    services: Table,
    /// Services of which it is not known whether we made them.
    left: Vec<ServiceKey>,
}

fn plan(kernel: &mut impl Kernel, ledger: &Ledger) -> Result<Removal> {
    let keys = ledger.services().collect();
    let (services, left): (Table, Table) = kernel.services(&keys)?.into_iter().partition(|(key, there)| {
        matches!(ledger.claim(key, Some(there)), Claim::Confirmed | Claim::Leaving { unchanged: true })
    });
    let mut steps: Vec<Step> = services.keys().map(|key| Step::DelService { key: *key }).collect();
    for bound in kernel.addresses()? {
        if is_ours(&bound, ledger, kernel.marks_addresses()) {
            steps.push(Step::UnbindVip { vip: bound.address, link: bound.link });
        }
    }
    Ok(Removal { plan: Plan::new(steps), services, left: left.into_keys().collect() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::sync::Arc;

    use lvs_plan::service::Family;
    use lvs_plan::{Kind, ObjectKey, Service, ServiceSettings};

    use super::*;
    use crate::kernel::HostAddress;
    use crate::kernel::fake::FakeKernel;
    use crate::ledger::Origin;

    #[test]
    fn an_address_without_our_mark_stays_although_the_ledger_names_its_vip() {
        let (ours, foreign): (IpAddr, IpAddr) =
            ("172.16.21.10".parse().unwrap(), "172.16.21.11".parse().unwrap());
        let link: Arc<str> = "eth0".into();
        let on_link =
            |address, tagged| HostAddress { address, link: Arc::clone(&link), link_index: 2, tagged };
        let mut kernel = FakeKernel::new();
        kernel.addresses = vec![on_link(ours, true), on_link(foreign, false)];
        let mut ledger = Ledger::in_memory();
        ledger.set_vip(ours, &link);
        ledger.set_vip(foreign, &link);
        let removal = plan(&mut kernel, &ledger).unwrap();
        assert_eq!(removal.plan.steps(), [Step::UnbindVip { vip: ours, link }]);
    }

    #[test]
    fn a_service_that_the_agent_may_not_have_made_stays_and_is_named() {
        let key = |port| ServiceKey::FirewallMark { mark: port, family: Family::IPv4 };
        let settings = ServiceSettings {
            scheduler: "rr".into(),
            one_packet: false,
            scheduler_flags: 0,
            persistence: None,
        };
        let service = Service { settings, destinations: BTreeMap::new() };
        let mut kernel = FakeKernel::new();
        kernel.table = [1, 2, 4, 5, 9].map(|mark| (key(mark), service.clone())).into();
        let mut ledger = Ledger::in_memory();
        let object = ObjectKey::new(Kind::VirtualService, "default", "web");
        for mark in 1..=5 {
            ledger.record_intent(key(mark), Origin { object: object.clone(), file: None });
        }
        ledger.confirm(&key(1));
        let mut other = service.clone();
        other.settings.one_packet = true;
        ledger.record_leaving(&key(4), &service);
        ledger.record_leaving(&key(5), &other);
        let removal = plan(&mut kernel, &ledger).unwrap();
        assert_eq!(removal.plan.steps(), [1, 4].map(|mark| Step::DelService { key: key(mark) }));
        assert_eq!(removal.left, [2, 5].map(key));
    }
}
