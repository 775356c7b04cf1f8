//! Views for tests, and a driver that gives them.

use std::net::IpAddr;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use lvs_plan::health::{State, Verdict};
use lvs_plan::service::{Family, Protocol};
use lvs_plan::{DestinationKey, Kind, ObjectKey, ServiceKey};

use super::{DestinationView, Of, ServiceView, View};
use crate::driver_thread::Trigger;

/// 172.16.21.10 and this TCP port.
pub(crate) fn tcp(port: u16) -> ServiceKey {
    ServiceKey::Address { vip: [172, 16, 21, 10].into(), protocol: Protocol::Tcp, port }
}

/// A firewall mark of IPv4 packets.
pub(crate) fn mark(mark: u32) -> ServiceKey {
    ServiceKey::FirewallMark { mark, family: Family::IPv4 }
}

/// 192.168.40 and this number.
pub(crate) fn address(number: u8) -> IpAddr {
    [192, 168, 40, number].into()
}

/// A service of a virtual service, with these real servers; all is well.
pub(crate) fn service(owner: &str, key: ServiceKey, real_servers: &[(&str, u8)]) -> ServiceView {
    let mut destinations: Vec<_> =
        real_servers.iter().map(|(name, number)| destination(name, *number, &key)).collect();
    destinations.sort_by_key(|it| it.key);
    let owner = ObjectKey::new(Kind::VirtualService, "default", owner);
    ServiceView { key, owner, in_kernel: true, destinations, sorry: None }
}

/// A healthy real server of weight 2.
pub(crate) fn destination(name: &str, number: u8, service: &ServiceKey) -> DestinationView {
    DestinationView {
        key: DestinationKey { address: address(number), port: service.port() },
        owner: ObjectKey::new(Kind::RealServer, "default", name),
        weight: 2,
        kernel_weight: Some(2),
        state: State::InService,
        probe: None,
        verdict: Some(Verdict::Up),
        failure: None,
        drain: None,
    }
}

/// A driver that answers with what a test put in; nothing: it is busy.
#[derive(Clone, Debug)]
pub(crate) struct FakeDriver(Arc<Mutex<Option<View>>>);

impl FakeDriver {
    pub(crate) fn start(view: View) -> (Self, Sender<Trigger>) {
        let (sender, inbox) = mpsc::channel();
        let driver = Self(Arc::new(Mutex::new(Some(view))));
        let known = driver.clone();
        thread::spawn(move || {
            let mut waiting = Vec::new();
            while let Ok(trigger) = inbox.recv() {
                let Trigger::Describe(of, answer) = trigger else { continue };
                match known.0.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                    Some(view) => drop(answer.send(only(of, view))),
                    None => waiting.push(answer),
                }
            }
        });
        (driver, sender)
    }

    pub(crate) fn set(&self, view: Option<View>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

fn only(of: Of, mut view: View) -> View {
    if let Of::These(owners) = of {
        view.services.retain(|service| owners.contains(&service.owner));
    }
    view
}
