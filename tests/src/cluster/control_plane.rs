//! The cluster's control plane: etcd, API server, controller manager and scheduler, on the switch's own address.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::network::{GATEWAY, NodeName};
use super::rights;
use crate::apiserver::pki::{self, Authority, Subject};
use crate::apiserver::{Daemon, KubeBinary, Kubeconfig};
use crate::progress::Step;

/// Addresses of Services; the first is the API server's.
const SERVICES: &str = "10.96.0.0/16";
const AUDIT_POLICY: &str = "audit-policy.yaml";
const AUDIT_LOG: &str = "audit.log";
/// How long a start may take: seconds on a calm machine, minutes on one that is compiling.
const START_LIMIT: Duration = Duration::from_mins(4);

/// A running control plane; dropped, it stops.
pub struct ControlPlane {
    // In this order they are stopped: the others complain when the API server goes first.
    daemons: Vec<Daemon>,
    binary: KubeBinary,
    folder: PathBuf,
}

impl ControlPlane {
    /// Starts it in `folder`, where its [`Credentials`] are, and waits until it is ready.
    pub fn start(binary: &KubeBinary, folder: &Path, credentials: &Credentials, step: &Step) -> Result<Self> {
        let mut plane = Self { daemons: Vec::new(), binary: binary.clone(), folder: folder.to_owned() };
        plane.daemon("etcd", &etcd_arguments(folder))?;
        fs::write(folder.join(AUDIT_POLICY), rights::POLICY).context("writing the audit policy")?;
        plane.daemon("kube-apiserver", &credentials.apiserver_arguments(folder))?;
        step.note("waiting for the API server");
        plane.wait_for("/readyz")?;
        // Not earlier: both give up when RBAC's own roles are not there yet.
        plane.daemon("kube-controller-manager", &controller_manager_arguments(folder))?;
        plane.daemon("kube-scheduler", &scheduler_arguments(folder))?;
        plane.wait_for("/api/v1/namespaces/default/serviceaccounts/default")?;
        Ok(plane)
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        self.program("kubectl")
    }

    /// `helm` as the administrator.
    pub fn helm(&self) -> Command {
        let mut command = self.program("helm");
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), self.folder.join("helm"));
        }
        command
    }

    /// What the agents asked the API server for until now.
    pub fn used_rights(&self) -> Result<rights::Used> {
        let path = self.folder.join(AUDIT_LOG);
        let log = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(rights::used(&log))
    }

    /// Whether a node says that it is ready.
    pub fn is_ready(&self, node: NodeName) -> bool {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "--request-timeout=10s", "node", &node.to_string(), "--output", ready]);
        kubectl.output().is_ok_and(|output| output.stdout == b"True")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binary.program(name));
        command
            .env("KUBECONFIG", self.folder.join("admin.kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"))
            .stdin(Stdio::null());
        command
    }

    fn daemon(&mut self, name: &'static str, arguments: &[String]) -> Result<()> {
        let daemon = Daemon::start(name, &self.folder, &self.binary.program(name), arguments)?;
        self.daemons.insert(0, daemon);
        Ok(())
    }

    fn wait_for(&mut self, path: &str) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !self.answers(path) {
            if let Some(ended) =
                self.daemons.iter_mut().find_map(|daemon| daemon.ended().map(|_| daemon.last_words()))
            {
                bail!("the control plane ended\n{ended}");
            }
            if Instant::now() > deadline {
                let words: Vec<_> = self.daemons.iter().map(Daemon::last_words).collect();
                bail!("{path} does not answer in time\n{}", words.join("\n"));
            }
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    fn answers(&self, path: &str) -> bool {
        self.kubectl()
            .args(["get", "--request-timeout=10s", "--raw", path])
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// What the parts of a control plane show each other.
pub struct Credentials {
    apiserver: pki::IdentityFiles,
    to_kubelets: pki::IdentityFiles,
}

impl Credentials {
    /// Makes them for this control plane and these nodes: `NODE.crt`, `NODE.key`, `USER.kubeconfig`.
    pub fn write(folder: &Path, nodes: &[NodeName]) -> Result<Self> {
        let authority = Authority::new("lvs-lab-cluster")?;
        fs::write(folder.join("ca.crt"), authority.certificate()).context("writing ca.crt")?;
        let (private, public) = pki::signing_key()?;
        pki::write_secret(&folder.join("tokens.key"), &private).context("writing tokens.key")?;
        fs::write(folder.join("tokens.pub"), public).context("writing tokens.pub")?;

        let user = |name, user, group| {
            let identity = authority.issue(Subject { user, group, names: &[] })?;
            write_kubeconfig(folder, name, &authority, &identity)
        };
        user("admin", "admin", Some(pki::ADMIN_GROUP))?;
        user("kube-controller-manager", "system:kube-controller-manager", None)?;
        user("kube-scheduler", "system:kube-scheduler", None)?;
        user("kube-proxy", "system:kube-proxy", None)?;
        for node in nodes {
            // A kubelet serves with it too, or `kubectl logs` has no one to trust.
            let (name, address) = (node.to_string(), node.address().to_string());
            let user = format!("system:node:{name}");
            let subject = Subject { user: &user, group: Some("system:nodes"), names: &[&address, &name] };
            let identity = authority.issue(subject)?;
            identity.write(folder, &name)?;
            write_kubeconfig(folder, &name, &authority, &identity)?;
        }

        let gateway = GATEWAY.to_string();
        let names: Vec<&str> = crate::apiserver::SERVER_NAMES.into_iter().chain([gateway.as_str()]).collect();
        let server = Subject { user: "kube-apiserver", group: None, names: &names };
        Ok(Self {
            apiserver: authority.issue(server)?.write(folder, "apiserver")?,
            to_kubelets: authority
                .issue(Subject::admin("kube-apiserver-kubelet-client"))?
                .write(folder, "to-kubelets")?,
        })
    }

    fn apiserver_arguments(&self, folder: &Path) -> Vec<String> {
        let Self { apiserver, to_kubelets } = self;
        let file = |name: &str| folder.join(name).display().to_string();
        vec![
            "--etcd-servers=http://127.0.0.1:2379".into(),
            "--bind-address=0.0.0.0".into(),
            format!("--advertise-address={GATEWAY}"),
            "--secure-port=6443".into(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", apiserver.certificate.display()),
            format!("--tls-private-key-file={}", apiserver.key.display()),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            format!("--kubelet-client-certificate={}", to_kubelets.certificate.display()),
            format!("--kubelet-client-key={}", to_kubelets.key.display()),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("tokens.pub")),
            format!("--service-account-signing-key-file={}", file("tokens.key")),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            format!("--audit-policy-file={}", file(AUDIT_POLICY)),
            format!("--audit-log-path={}", file(AUDIT_LOG)),
            "--profiling=false".into(),
        ]
    }
}

fn write_kubeconfig(
    folder: &Path,
    name: &str,
    authority: &Authority,
    identity: &pki::Identity,
) -> Result<()> {
    let kubeconfig = Kubeconfig::new(format!("https://{GATEWAY}:6443"), authority, identity);
    let path = folder.join(format!("{name}.kubeconfig"));
    pki::write_secret(&path, &kubeconfig.to_string()).with_context(|| format!("writing {}", path.display()))
}

fn etcd_arguments(folder: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        // The data is thrown away, so a crash of the machine may lose it.
        "--unsafe-no-fsync".into(),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--log-level=warn".into(),
    ]
}

fn controller_manager_arguments(folder: &Path) -> Vec<String> {
    let mut arguments = as_user(folder, "kube-controller-manager");
    arguments.extend([
        format!("--root-ca-file={}", folder.join("ca.crt").display()),
        format!("--service-account-private-key-file={}", folder.join("tokens.key").display()),
        "--use-service-account-credentials".into(),
        format!("--service-cluster-ip-range={SERVICES}"),
    ]);
    arguments
}

fn scheduler_arguments(folder: &Path) -> Vec<String> {
    as_user(folder, "kube-scheduler")
}

fn as_user(folder: &Path, name: &str) -> Vec<String> {
    let kubeconfig = folder.join(format!("{name}.kubeconfig"));
    let mut arguments: Vec<_> = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .into_iter()
        .map(|flag| format!("--{flag}={}", kubeconfig.display()))
        .collect();
    // There is one of each, and one that waits for nobody's lease starts at once.
    arguments.extend(["--bind-address=127.0.0.1".into(), "--leader-elect=false".into()]);
    arguments
}
