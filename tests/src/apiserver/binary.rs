//! The Kubernetes programs: given by `KUBEBUILDER_ASSETS`, or built once from Go modules.
//!
//! A first build takes about ten minutes on two cores, so it runs beside whatever else there is to do, at a lower
//! priority, and its result is kept under the hash of what it was made from.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::process::tethered;
use crate::cache::{Cache, Inputs};
use crate::progress;

/// The variable that names a folder with `etcd`, `kube-apiserver` and `kubectl`, as envtest has it.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// How many packages the module's binary is made of, nearly: `go list -deps . | wc -l`.
const PACKAGES: u32 = 3100;
/// The name in the cache.
const ENTRY: &str = "kube";
/// What an API server needs.
const API_SERVER: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];
/// What the multi-call binary is besides.
const CLUSTER: [&str; 5] = ["helm", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"];

/// Which programs are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// Those of an API server: `KUBEBUILDER_ASSETS` will do.
    ApiServer,
    /// Those of a whole cluster, of one version.
    Cluster,
}

/// A folder of Kubernetes programs.
#[derive(Clone, Debug)]
pub struct KubeBinary {
    folder: PathBuf,
}

impl KubeBinary {
    /// The program of that name, `kubectl` for one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that all programs are in, to put on a `PATH`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Finds or builds the programs on a thread of its own.
    pub fn prepare_in_background(cache: &Cache, programs: Programs) -> Preparation {
        let compiler = Arc::new(AtomicU32::new(NO_PROCESS));
        let thread = thread::spawn({
            let (cache, compiler) = (cache.clone(), Arc::clone(&compiler));
            move || prepare(&cache, programs, &compiler)
        });
        Preparation { thread: Some(thread), compiler }
    }
}

/// The programs while they are being prepared. Dropped, it stops a build that still runs; what was compiled stays
/// in Go's own cache.
pub struct Preparation {
    thread: Option<JoinHandle<Result<KubeBinary>>>,
    /// The go command's process.
    compiler: Arc<AtomicU32>,
}

const NO_PROCESS: u32 = 0;

impl Preparation {
    /// Whether [`Preparation::wait`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the programs.
    pub fn wait(mut self) -> Result<KubeBinary> {
        let joined = self.thread.take().map(JoinHandle::join);
        joined.and_then(Result::ok).unwrap_or_else(|| bail!("preparing the Kubernetes programs panicked"))
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let compiler = i32::try_from(self.compiler.load(Ordering::Relaxed)).ok();
        if let Some(pid) = compiler.and_then(Pid::from_raw)
            && !thread.is_finished()
        {
            // The go command stops its compilers on an interrupt, not on a termination.
            let _ = kill_process(pid, Signal::INT);
            let _ = thread.join();
        }
    }
}

/// What stands in the way of building the programs, with the cure; `None` when nothing does.
pub fn obstacle() -> Option<String> {
    if given(Programs::ApiServer).is_ok_and(|given| given.is_some()) {
        return None;
    }
    go_version().err().map(|error| format!("{error:#}"))
}

/// Whether the programs are there already, so that preparing them takes no time.
pub fn is_prepared(cache: &Cache, programs: Programs) -> bool {
    given(programs).is_ok_and(|given| given.is_some())
        || go_version().and_then(|go| inputs(&go)).is_ok_and(|inputs| cache.find(ENTRY, &inputs).is_some())
}

fn prepare(cache: &Cache, programs: Programs, compiler: &AtomicU32) -> Result<KubeBinary> {
    if let Some(given) = given(programs)? {
        return Ok(given);
    }
    let inputs = inputs(&go_version()?)?;
    let folder = cache.entry(ENTRY, &inputs, |folder| {
        build(&folder.join("kube"), &cache.root().join("kube.log"), compiler)?;
        for name in API_SERVER.iter().chain(&CLUSTER) {
            symlink("kube", folder.join(name))
                .with_context(|| format!("linking {name} in {}", folder.display()))?;
        }
        Ok(())
    })?;
    Ok(KubeBinary { folder })
}

/// The programs of `KUBEBUILDER_ASSETS`, when it is set and they are enough.
fn given(programs: Programs) -> Result<Option<KubeBinary>> {
    let Some(folder) = env::var_os(ASSETS).filter(|folder| !folder.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if let Some(missing) = API_SERVER.iter().find(|name| !folder.join(name).exists()) {
        bail!("{ASSETS} is {}, where there is no {missing}; unset it to build one", folder.display());
    }
    let enough = programs == Programs::ApiServer || CLUSTER.iter().all(|name| folder.join(name).exists());
    Ok(enough.then_some(KubeBinary { folder }))
}

/// Where the module is. The lab runs from a checkout, never installed.
fn module() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kube"))
}

fn read(name: &str) -> Result<String> {
    let path = module().join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// The version of the Go that builds here, `go1.26.8`. A Go of 1.21 or newer fetches the one the module asks for.
fn go_version() -> Result<String> {
    const CURE: &str = "Go 1.26 or newer builds the Kubernetes programs of the lab: unpack it from \
                        https://go.dev/dl/ to /usr/local and put /usr/local/go/bin on the PATH \
                        (or set KUBEBUILDER_ASSETS, which is enough without a cluster)";
    let output = match go().args(["env", "GOVERSION"]).output() {
        Ok(output) => output,
        Err(error) => bail!("there is no go command ({error}). {CURE}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go does not run here: {}. {CURE}", said.trim());
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let minor = version.strip_prefix("go1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    ensure!(minor.is_some_and(|minor| minor >= 26), "this is {version}. {CURE}");
    Ok(version)
}

fn go() -> Command {
    let mut go = Command::new("go");
    go.current_dir(module());
    go
}

fn inputs(go_version: &str) -> Result<Inputs> {
    ["go.mod", "go.sum", "main.go"]
        .iter()
        .try_fold(Inputs::new().text(go_version), |inputs, name| inputs.file(&module().join(name)))
}

fn build(binary: &Path, log_path: &Path, compiler: &AtomicU32) -> Result<()> {
    let step = progress::step("building Kubernetes, once");
    step.note("fetching modules");
    let stamps = stamps(&read("go.mod")?)?;
    let mut child = tethered("nice", "INT")
        .args(["-n", "10", "go", "build", "-v", "-trimpath", "-ldflags", &stamps, "-o"])
        .arg(binary)
        .arg(".")
        .current_dir(module())
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting go build")?;
    compiler.store(child.id(), Ordering::Relaxed);
    let (mut log, mut compiled) = (String::new(), 0);
    let stderr = child.stderr.take().expect("stderr is piped");
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // With -v the go command names each package as it compiles it.
        if !line.starts_with("go: ") {
            compiled += 1;
            step.note(format!("package {compiled} of at most {PACKAGES}"));
        }
        log.push_str(&line);
        log.push('\n');
    }
    let status = child.wait().context("waiting for go build")?;
    compiler.store(NO_PROCESS, Ordering::Relaxed);
    if status.success() {
        step.done();
        return Ok(());
    }
    fs::write(log_path, &log).with_context(|| format!("writing {}", log_path.display()))?;
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("\n");
    bail!(
        "go build in {} ended with {status}:\n{last}\nall of it: {}",
        module().display(),
        log_path.display()
    )
}

/// The linker's flags. Without the versions in it a component calls itself v0.0.0, and a chart that asks for a
/// Kubernetes version is refused.
fn stamps(go_mod: &str) -> Result<String> {
    let kubernetes = required(go_mod, "k8s.io/kubernetes")?;
    let helm = required(go_mod, "helm.sh/helm/v4")?;
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("{kubernetes} is no version of Kubernetes");
    };
    let component = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {component}.gitVersion={kubernetes} -X {component}.gitMajor={major} \
         -X {component}.gitMinor={minor} -X {component}.gitTreeState=clean \
         -X k8s.io/client-go/pkg/version.gitVersion={kubernetes} \
         -X helm.sh/helm/v4/internal/version.version={helm}"
    ))
}

/// The version of a module that `go.mod` requires.
fn required<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    let mut lines = go_mod.lines().map(str::split_whitespace);
    lines
        .find_map(|mut words| (words.next() == Some(module)).then(|| words.next())?)
        .with_context(|| format!("go.mod does not require {module}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamps_are_the_versions_that_go_mod_requires() {
        let stamps = stamps(&read("go.mod").unwrap()).unwrap();
        assert!(stamps.contains("version.gitVersion=v1."), "{stamps}");
        assert!(stamps.contains("internal/version.version=v4."), "{stamps}");
        assert!(!stamps.contains("=v0."), "{stamps}");
    }
}
