//! A real API server on this machine: etcd and kube-apiserver on free ports of the loopback, RBAC on, nothing kept.
//!
//! Guests reach it at [`GUEST_SEES_HOST`]: QEMU's user network leads there to the host's loopback.

pub mod agent;
pub mod binary;
mod kubeconfig;
pub mod pki;
mod process;

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

pub use binary::{KubeBinary, Preparation, Programs};
pub use kubeconfig::Kubeconfig;
pub use process::{Daemon, tethered};

use crate::loopback::free_ports;
use pki::{Authority, Identity, Subject};

/// Where a guest reaches the loopback of the host.
pub const GUEST_SEES_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// What the API server's certificate is good for.
pub const SERVER_NAMES: [&str; 8] = [
    "127.0.0.1",
    "10.0.2.2",
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// How names of folders begin; the process that made it follows.
const FOLDER: &str = "lvs-lab-apiserver-";
const ETCD: &str = "etcd";
const APISERVER: &str = "kube-apiserver";

/// How long a start may take: seconds on a calm machine, minutes on one that is compiling.
const START_LIMIT: Duration = Duration::from_mins(4);

/// A running API server.
pub struct ApiServer {
    // In this order they are stopped: an API server without its etcd fills its log.
    _apiserver: Daemon,
    _etcd: Daemon,
    binary: KubeBinary,
    authority: Authority,
    port: u16,
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl ApiServer {
    /// Starts one and waits until it is ready; dropped, it stops and its folder goes. When it does not start, the
    /// folder with the logs stays and is named.
    pub fn start(binary: &KubeBinary) -> Result<Self> {
        sweep();
        let name = format!("{FOLDER}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&name).tempdir().context("a folder for etcd")?;
        match Self::start_in(binary, folder.path()) {
            Ok(server) => Ok(Self { _temporary: Some(folder), ..server }),
            Err(error) => {
                let kept = folder.keep();
                let _ = fs::remove_dir_all(kept.join(ETCD));
                Err(error.context(format!("starting an API server; its logs are in {}", kept.display())))
            }
        }
    }

    fn start_in(binary: &KubeBinary, folder: &Path) -> Result<Self> {
        let authority = Authority::new("lvs-lab")?;
        let [etcd_port, peer_port, port] = free_ports()?;
        let admin = authority.issue(Subject::admin("admin"))?;
        write_kubeconfigs(folder, port, &authority, &admin)?;

        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let etcd_arguments = etcd_arguments(&folder.join(ETCD), &etcd_url, peer_port);
        let mut etcd = Daemon::start(ETCD, folder, &binary.program(ETCD), &etcd_arguments)?;
        let arguments = apiserver_arguments(folder, &authority, &etcd_url, port)?;
        let mut apiserver = Daemon::start(APISERVER, folder, &binary.program(APISERVER), &arguments)?;

        let deadline = Instant::now() + START_LIMIT;
        // The namespace is made some moments after the server calls itself ready.
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            while !answers(binary, folder, path) {
                let gone = [&mut etcd, &mut apiserver].into_iter().any(|daemon| daemon.ended().is_some());
                if gone || Instant::now() > deadline {
                    let what = if gone { "ended" } else { "is not ready in time" };
                    bail!("it {what}\n{}\n{}", etcd.last_words(), apiserver.last_words());
                }
                thread::sleep(Duration::from_millis(200));
            }
        }
        let (binary, folder) = (binary.clone(), folder.to_owned());
        Ok(Self { _apiserver: apiserver, _etcd: etcd, binary, authority, port, folder, _temporary: None })
    }

    /// The administrator's kubeconfig for this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// The administrator's kubeconfig for guests.
    pub fn guest_kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.guest.kubeconfig")
    }

    /// A kubeconfig for guests of a service account, which may do what RBAC binds to it. Its namespace is the
    /// service account's, as it is in a pod.
    pub fn guest_kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let user = format!("system:serviceaccount:{namespace}:{service_account}");
        let identity = self.authority.issue(Subject::user(&user))?;
        let server = format!("https://{GUEST_SEES_HOST}:{}", self.port);
        let kubeconfig = Kubeconfig::new(server, &self.authority, &identity).in_namespace(namespace);
        let path = self.folder.join(format!("{service_account}.guest.kubeconfig"));
        pki::write_secret(&path, &kubeconfig.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The `kubectl` of the server's version.
    pub fn kubectl_path(&self) -> PathBuf {
        self.binary.program("kubectl")
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        kubectl(&self.binary, &self.folder)
    }

    /// [`ApiServer::kubectl`] as a value of its own.
    pub fn kubectl_maker(&self) -> impl Fn() -> Command + Send + use<> {
        let (binary, folder) = (self.binary.clone(), self.folder.clone());
        move || kubectl(&binary, &folder)
    }
}

/// Removes what labs left that were killed. Folders of logs that were kept to look at have no data of etcd.
fn sweep() {
    let folders = env::temp_dir().read_dir().into_iter().flatten().flatten();
    for folder in folders.filter(|folder| folder.path().join(ETCD).exists()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(FOLDER).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

fn kubectl(binary: &KubeBinary, folder: &Path) -> Command {
    let mut command = Command::new(binary.program("kubectl"));
    command
        .env("KUBECONFIG", folder.join("admin.kubeconfig"))
        .env("KUBECACHEDIR", folder.join("kubectl-cache"));
    command
}

fn answers(binary: &KubeBinary, folder: &Path, path: &str) -> bool {
    kubectl(binary, folder)
        .args(["get", "--request-timeout=10s", "--raw", path])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Writes the administrator's kubeconfigs, for this machine and for guests.
fn write_kubeconfigs(folder: &Path, port: u16, authority: &Authority, admin: &Identity) -> Result<()> {
    for (host, name) in
        [(Ipv4Addr::LOCALHOST, "admin.kubeconfig"), (GUEST_SEES_HOST, "admin.guest.kubeconfig")]
    {
        let kubeconfig = Kubeconfig::new(format!("https://{host}:{port}"), authority, admin);
        let path = folder.join(name);
        pki::write_secret(&path, &kubeconfig.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn etcd_arguments(data: &Path, url: &str, peer_port: u16) -> Vec<String> {
    let peer_url = format!("http://127.0.0.1:{peer_port}");
    vec![
        format!("--data-dir={}", data.display()),
        // The data is thrown away, so a crash of the machine may lose it.
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=default={peer_url}"),
        "--log-level=warn".into(),
    ]
}

fn apiserver_arguments(
    folder: &Path,
    authority: &Authority,
    etcd_url: &str,
    port: u16,
) -> Result<Vec<String>> {
    let authority_file = folder.join("ca.crt");
    fs::write(&authority_file, authority.certificate())
        .with_context(|| format!("writing {}", authority_file.display()))?;
    let server = Subject { user: "kube-apiserver", group: None, names: &SERVER_NAMES };
    let server = authority.issue(server)?.write(folder, "apiserver")?;
    let (private, public) = pki::signing_key()?;
    let (signing_key, verifying_key) = (folder.join("tokens.key"), folder.join("tokens.pub"));
    pki::write_secret(&signing_key, &private)
        .with_context(|| format!("writing {}", signing_key.display()))?;
    fs::write(&verifying_key, public).with_context(|| format!("writing {}", verifying_key.display()))?;
    Ok(vec![
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // Nobody follows the `kubernetes` Service here, and a loopback address is refused in its endpoints.
        "--advertise-address=192.0.2.1".into(),
        "--endpoint-reconciler-type=none".into(),
        format!("--client-ca-file={}", authority_file.display()),
        format!("--tls-cert-file={}", server.certificate.display()),
        format!("--tls-private-key-file={}", server.key.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", verifying_key.display()),
        format!("--service-account-signing-key-file={}", signing_key.display()),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        "--profiling=false".into(),
    ])
}
