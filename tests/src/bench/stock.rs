//! An API server on the host that has a shape's objects.

use std::fs;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use super::record::Served;
use super::shape::{Shape, with_thousands};
use crate::apiserver::agent::{PREPARATION, SERVICE_ACCOUNT};
use crate::apiserver::{ApiServer, KubeBinary};
use crate::controller::checkout;
use crate::progress::{self, Step};

/// `kubectl` makes at most 50 requests a second, so some do it together.
const CREATORS: usize = 4;
const KINDS: &str = "virtualservices.lvs-operator.dev,realservers.lvs-operator.dev";
/// A line of what the status is about, for each object.
const OBSERVED: &str = r#"jsonpath={range .items[*]}{.status.observedGeneration}{"\n"}{end}"#;

/// The server; stopped when dropped.
pub(super) struct Stock {
    server: ApiServer,
    shape: Shape,
}

impl Stock {
    /// Starts a server and creates the objects.
    pub(super) fn new(binary: &KubeBinary, shape: Shape) -> Result<Self> {
        let objects = with_thousands(shape.objects());
        let step = progress::step(format!("starting an API server and creating {objects} objects"));
        let server = ApiServer::start(binary)?;
        for arguments in PREPARATION {
            step.run(server.kubectl().args(arguments.split(' ')).current_dir(checkout()))?;
        }
        create(&server, shape, &step)?;
        step.done();
        Ok(Self { server, shape })
    }

    /// What the guest has to know.
    pub(super) fn served(&self) -> Result<Served> {
        let (namespace, name) = SERVICE_ACCOUNT;
        let path = self.server.guest_kubeconfig_of(namespace, name)?;
        let kubeconfig =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Served { shape: self.shape, kubeconfig })
    }

    /// Fails if an object has no status of its present generation.
    pub(super) fn check_statuses(&self) -> Result<()> {
        let step = progress::step("looking at the statuses");
        let seen = step.run(self.server.kubectl().args(["get", KINDS, "-A", "-o", OBSERVED]))?;
        let observed = seen.lines().filter(|generation| *generation == "1").count();
        let objects = self.shape.objects();
        ensure!(observed == objects as usize, "{observed} of {objects} objects have a status");
        step.done();
        Ok(())
    }
}

fn create(server: &ApiServer, shape: Shape, step: &Step) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let files = shares(&shape.manifests(), CREATORS).into_iter().enumerate().map(|(number, share)| {
        let file = folder.path().join(format!("{number}.yaml"));
        fs::write(&file, share).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let creators = files.iter().map(|file| {
            let mut kubectl = server.kubectl();
            kubectl.args(["create", "--filename"]).arg(file);
            scope.spawn(move || step.run(&mut kubectl).map(drop))
        });
        let creators: Vec<_> = creators.collect();
        creators
            .into_iter()
            .try_for_each(|creator| creator.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Manifests in at most so many parts of nearly the same size.
fn shares(manifests: &str, count: usize) -> Vec<String> {
    let documents: Vec<_> = manifests.split("---\n").filter(|document| !document.is_empty()).collect();
    let each = documents.len().div_ceil(count).max(1);
    documents.chunks(each).map(|share| share.join("---\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_in_one_share() {
        let shape = Shape { services: 20, destinations: 4 };
        let shares = shares(&shape.manifests(), 4);
        assert_eq!(shares.len(), 4);
        let kinds: Vec<_> = shares.iter().map(|share| share.matches("kind:").count()).collect();
        assert_eq!(kinds.iter().sum::<usize>(), shape.objects() as usize, "{kinds:?}");
        assert_eq!("---\n".to_owned() + &shares.join("---\n"), shape.manifests());
    }

    #[test]
    fn there_are_no_empty_shares() {
        assert_eq!(shares("", 4), [""; 0]);
        assert_eq!(shares("---\na\n---\nb\n", 4), ["a\n", "b\n"]);
    }
}
