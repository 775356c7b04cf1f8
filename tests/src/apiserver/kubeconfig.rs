//! Kubeconfigs with everything in them: they can be copied anywhere.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::pki::{Authority, Identity};

/// The way to an API server as one user.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    server: String,
    authority: String,
    identity: Identity,
    namespace: String,
}

impl Kubeconfig {
    /// A kubeconfig for the API server at `server` (`https://HOST:PORT`).
    pub fn new(server: impl Into<String>, authority: &Authority, identity: &Identity) -> Self {
        let (authority, identity) = (authority.certificate(), identity.clone());
        Self { server: server.into(), authority, identity, namespace: "default".to_owned() }
    }

    /// The same for a user who is at home in this namespace.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self }
    }
}

impl fmt::Display for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, authority, identity: Identity { certificate, key }, namespace } = self;
        writeln!(f, "apiVersion: v1")?;
        writeln!(f, "kind: Config")?;
        writeln!(f, "clusters:")?;
        writeln!(f, "- name: lab")?;
        writeln!(f, "  cluster:")?;
        writeln!(f, "    server: {server}")?;
        writeln!(f, "    certificate-authority-data: {}", STANDARD.encode(authority))?;
        writeln!(f, "users:")?;
        writeln!(f, "- name: lab")?;
        writeln!(f, "  user:")?;
        writeln!(f, "    client-certificate-data: {}", STANDARD.encode(certificate))?;
        writeln!(f, "    client-key-data: {}", STANDARD.encode(key))?;
        writeln!(f, "contexts:")?;
        writeln!(f, "- name: lab")?;
        writeln!(f, "  context:")?;
        writeln!(f, "    cluster: lab")?;
        writeln!(f, "    user: lab")?;
        writeln!(f, "    namespace: {namespace}")?;
        writeln!(f, "current-context: lab")
    }
}
