//! A Director for tests: the driver over the kernel in memory, its clock and where its ledger is.

use std::sync::Arc;
use std::time::Duration;

use lvs_plan::object::{Kind, Object, ObjectKey, Spec};
use lvs_plan::{Change, Reason, Service};
use serde_json::json;

use super::*;
use crate::kernel::fake::FakeKernel;

const VIP: &str = "172.16.21.10";

/// A Director, its clock and where its ledger is.
pub(super) struct Node {
    pub(super) directory: tempfile::TempDir,
    pub(super) driver: Driver<FakeKernel>,
    pub(super) board: Board,
    pub(super) now: Instant,
}

pub(super) fn vip() -> IpAddr {
    VIP.parse().expect("an address")
}

pub(super) fn key(port: u16) -> ServiceKey {
    ServiceKey::Address { vip: vip(), protocol: lvs_crds::Protocol::Tcp, port }
}

impl Node {
    pub(super) fn new() -> Self {
        Self::over(FakeKernel::new(), tempfile::tempdir().expect("a directory"))
    }

    pub(super) fn over(kernel: FakeKernel, directory: tempfile::TempDir) -> Self {
        let (now, board) = (Instant::now(), Board::default());
        let ledger = Ledger::open(directory.path(), "boot", 1).expect("the test's own directory");
        let driver = Driver::new(kernel, ledger, board.clone(), Metrics::default(), now);
        let mut node = Self { directory, driver, board, now };
        node.deliver(Vec::new());
        node
    }

    /// A new agent on this node. It gets no objects by itself.
    pub(super) fn restart(mut self) -> Self {
        let kernel = std::mem::take(&mut self.driver.kernel);
        drop(self.driver);
        Self::over(kernel, self.directory)
    }

    pub(super) fn deliver(&mut self, changes: Vec<Change>) {
        let state = SourceState { complete: true, up_to_date: true, ..SourceState::default() };
        self.driver.ingest(Update { changes, state });
    }

    /// A virtual service from a file of its own, at the VIP and this port, with rs1 behind it.
    pub(super) fn declare(&mut self, name: &str, port: u16) {
        self.declare_at(name, vip(), port);
    }

    /// The same at another VIP.
    pub(super) fn declare_at(&mut self, name: &str, vip: IpAddr, port: u16) {
        let spec = json!({"vip": vip, "ports": [{"port": port}], "scheduler": "wrr", "healthCheck": {"none": {}},
                          "realServerSelector": {"matchLabels": {"app": "web"}}});
        let spec = Spec::VirtualService(Arc::new(serde_json::from_value(spec).expect("a spec")));
        let real = Spec::RealServer(Arc::new(
            serde_json::from_value(json!({"address": "192.168.40.12"})).expect("a spec"),
        ));
        let changes = [
            object(Kind::VirtualService, name, spec, Some(format!("{name}.yaml"))),
            object(Kind::RealServer, "rs1", real, None),
        ];
        self.deliver(changes.map(Change::upsert).to_vec());
    }

    /// What it asks for breaks a rule from now on.
    pub(super) fn spoil(&mut self, name: &str) {
        let spec = serde_json::from_value(json!({"vip": "127.0.0.1", "ports": [{"port": 80}]}));
        let spec = Spec::VirtualService(Arc::new(spec.expect("a spec")));
        self.deliver(vec![Change::upsert(object(Kind::VirtualService, name, spec, None))]);
    }

    pub(super) fn withdraw(&mut self, name: &str) {
        self.deliver(vec![Change::Removed(ObjectKey::new(Kind::VirtualService, "default", name))]);
    }

    /// A pass a second later, and the network's answers to it.
    pub(super) fn pass(&mut self, scope: Scope) -> PassReport {
        self.now += Duration::from_secs(1);
        let report = self.driver.pass(scope, self.now);
        let answers = self.driver.kernel.answer_probes();
        self.driver.probed(answers, self.now);
        report
    }

    /// Passes until the VIP is where it can be.
    pub(super) fn settle(&mut self) {
        for _ in 0..3 {
            self.pass(Scope::Changes);
        }
    }

    pub(super) fn condition(&self, name: &str, type_: &str) -> (bool, Reason, String) {
        let content = self.board.lock();
        let entry = &content.entries[&ObjectKey::new(Kind::VirtualService, "default", name)];
        let condition =
            entry.verdict.conditions.iter().find(|condition| condition.type_ == type_).expect("it is there");
        (condition.holds(), condition.reason, condition.message.clone())
    }

    pub(super) fn events(&self) -> Vec<Reason> {
        std::mem::take(&mut self.board.lock().transitions)
            .into_iter()
            .map(|transition| transition.reason)
            .collect()
    }

    pub(super) fn holds_vip(&self) -> bool {
        self.driver.kernel.addresses.iter().any(|bound| bound.address == vip())
    }

    pub(super) fn network_changed(&mut self) {
        self.driver.network_changed(NetworkChange::LinksOrAddresses, self.now);
    }
}

pub(super) fn object(kind: Kind, name: &str, spec: Spec, file: Option<String>) -> Object {
    Object {
        key: ObjectKey::new(kind, "default", name),
        uid: String::new(),
        generation: 1,
        created: 0,
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        file: file.map(Into::into),
        spec,
    }
}

pub(super) fn foreign() -> Service {
    let settings = lvs_plan::ServiceSettings {
        scheduler: "fo".into(),
        one_packet: false,
        scheduler_flags: 0,
        persistence: None,
    };
    Service { settings, destinations: BTreeMap::new() }
}
