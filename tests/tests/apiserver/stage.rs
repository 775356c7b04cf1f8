//! A network with foreign things on its Director, and an API server without objects. Every test has both for itself.

use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use lvs_lab::eventually::eventually;
use lvs_lab::foreign::Foreign;
use lvs_lab::topology::{Host, Topology};

use crate::agent::Seat;
use crate::kubectl::{Kubectl, variable};

/// Virtual service `web` and real servers `rs1` and `rs2`, as a newcomer applies them.
pub(crate) const TUTORIAL: &str = include_str!("../../../deploy/examples/tutorial/virtualservice.yaml");

/// Numbers and kubeconfigs of the API servers that no test has now.
static FREE: LazyLock<Mutex<Vec<(usize, String)>>> = LazyLock::new(|| {
    Mutex::new(variable("LVS_LAB_KUBECONFIGS").split(':').map(str::to_owned).enumerate().collect())
});
static FREED: Condvar = Condvar::new();

fn free() -> MutexGuard<'static, Vec<(usize, String)>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An API server of a test; free again when dropped.
struct Taken(usize, String);

impl Taken {
    fn wait() -> Self {
        let free = FREED.wait_while(free(), |free| free.is_empty());
        let (number, kubeconfig) =
            free.unwrap_or_else(PoisonError::into_inner).pop().expect("it was waited for");
        Self(number, kubeconfig)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        free().push((self.0, std::mem::take(&mut self.1)));
        FREED.notify_one();
    }
}

pub(crate) struct Stage {
    pub(crate) network: Topology,
    pub(crate) kubectl: Kubectl,
    foreign: Foreign,
    _server: Taken,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let server = Taken::wait();
        let kubectl = Kubectl::new(server.0, &server.1);
        // What the test before left behind, and one that failed leaves much.
        kubectl.run("apply --server-side -f ../crds/yaml");
        kubectl.run("wait --for condition=Established --timeout 60s -f ../crds/yaml");
        kubectl.run("delete virtualservices.lvs-operator.dev,realservers.lvs-operator.dev,directors.lvs-operator.dev --all -A");
        kubectl.run("delete leases.coordination.k8s.io,events.events.k8s.io --all -n default");
        let network = Topology::tutorial().unwrap();
        let foreign = Foreign::plant(&network["director"]).unwrap();
        Self { network, kubectl, foreign, _server: server }
    }

    pub(crate) fn director(&self) -> &Host {
        &self.network["director"]
    }

    /// A place for an agent on a host.
    pub(crate) fn seat(&self, host: &str, node_name: &'static str) -> Seat {
        Seat::new(&self.network[host], node_name, &self.kubectl.kubeconfig())
    }

    /// What the kernel's table holds for the tutorial's VIP, as `ipvsadm -Sn` prints it.
    pub(crate) fn rules(&self) -> Vec<String> {
        let table = self.director().exec("ipvsadm --save --numeric").unwrap();
        table.lines().filter(|line| line.contains(" 172.16.21.10:")).map(str::to_owned).collect()
    }

    pub(crate) fn holds_vip(&self, host: &str) -> bool {
        self.network[host].exec("ip -brief address show dev eth0").unwrap().contains("172.16.21.10/")
    }

    pub(crate) fn await_rules(&self, wish: &str, holds: impl Fn(&[String]) -> bool) {
        eventually(wish, || {
            let rules = self.rules();
            if holds(&rules) { Ok(()) } else { Err(rules.join("\n")) }
        });
    }

    /// The versions of all objects: none changes unless somebody writes.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        let mut objects = self.kubectl.list("virtualservices.lvs-operator.dev");
        objects.extend(self.kubectl.list("realservers.lvs-operator.dev"));
        objects.extend(self.kubectl.list("directors.lvs-operator.dev"));
        let version = |object: &serde_json::Value| {
            let metadata = &object["metadata"];
            (metadata["name"].to_string(), metadata["resourceVersion"].to_string())
        };
        objects.iter().map(version).collect()
    }

    /// Compares what is not ours, and ends.
    pub(crate) fn end(self) {
        self.foreign.assert_untouched();
        self.network.teardown().unwrap();
    }
}
