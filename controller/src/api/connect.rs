//! Finding the API server, and saying what to do when it cannot be found.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Error};

use crate::args::Node;
use crate::chain::chain;

/// For the TCP connection and the TLS handshake. A list or a watch may take longer; that is judged elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the kubeconfig {} cannot be used: correct it, or name another one with --kubeconfig", path.display())]
    Kubeconfig { path: PathBuf, source: Box<KubeconfigError> },
    #[error(
        "the kubeconfig that $KUBECONFIG names cannot be used: correct it, or name one with --kubeconfig"
    )]
    Environment { source: Box<KubeconfigError> },
    #[error(
        "no API server is known: name a kubeconfig with --kubeconfig, run in a pod with a service account, or use \
         --manifests DIR without an API server"
    )]
    InCluster { source: Box<InClusterError> },
    #[error(
        "the credentials for the API server cannot be used: correct the kubeconfig or the service account"
    )]
    Client { source: Box<Error> },
}

/// A client with the address that it talks to, for messages.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) address: String,
}

/// Reads the credentials anew. Says nothing about whether the API server answers.
pub(super) async fn connect(node: &Node) -> Result<Connection, ConnectError> {
    let mut config = config(node).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Retries are ours: each kind of request knows best how urgent it is.
    config.default_retry = false;
    let address = config.cluster_url.to_string();
    let client =
        Client::try_from(config).map_err(|source| ConnectError::Client { source: Box::new(source) })?;
    Ok(Connection { client, address })
}

async fn config(node: &Node) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions::default();
    if let Some(path) = &node.kubeconfig {
        let wrap = |source| ConnectError::Kubeconfig { path: path.clone(), source: Box::new(source) };
        let kubeconfig = Kubeconfig::read_from(path).map_err(wrap)?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrap);
    }
    if env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
        let wrap = |source| ConnectError::Environment { source: Box::new(source) };
        return Config::from_kubeconfig(&options).await.map_err(wrap);
    }
    Config::incluster().map_err(|source| ConnectError::InCluster { source: Box::new(source) })
}

/// Whether the API server was not heard at all, as opposed to having said no: then every request fails alike, and
/// trying others is of no use.
pub(super) fn is_away(error: &Error) -> bool {
    match error {
        Error::Api(status) => status.code == 429 || status.code >= 500,
        Error::SerdeError(_) | Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// Whether there was no answer at all, not even a refusal.
pub(super) fn is_silent(error: &Error) -> bool {
    is_away(error) && !matches!(error, Error::Api(_))
}

/// Whether the API server does not know us (any more): the credentials have to be read again.
pub(super) fn is_unauthorized(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 401)
}

/// What went wrong and what to do, for people. `doing` is what was tried: "list realservers.lvs-operator.dev".
pub(super) fn explain(error: &Error, doing: &str, address: &str) -> String {
    match error {
        Error::Api(status) => match status.code {
            401 => format!(
                "the API server at {address} does not accept our credentials: renew the kubeconfig or the service \
                 account's token"
            ),
            403 => format!(
                "we may not {doing}: grant it in the role of our service account ({})",
                status.message
            ),
            404 => {
                format!("cannot {doing}: install the CRDs of lvs-operator.dev ({})", status.message.trim())
            }
            code => format!("cannot {doing}: the API server at {address} says {code} {}", status.message),
        },
        error if is_away(error) => format!(
            "the API server at {address} does not answer ({}): start it, or let this host reach it",
            root(error)
        ),
        error => format!("cannot {doing}: {}", chain(error)),
    }
}

/// The first cause: what the layers above add (`ServiceError: client error (Connect)`) helps nobody.
fn root(error: &Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    if deepest.source().is_none() && std::ptr::eq(deepest, std::ptr::from_ref(error)) {
        return error.to_string();
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api_error(code: u16) -> Error {
        Error::Api(Status::failure("words of the server", "Reason").with_code(code).boxed())
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (code, cure) in [(401, "renew the kubeconfig"), (403, "grant it"), (404, "install the CRDs")] {
            let words =
                explain(&api_error(code), "list realservers.lvs-operator.dev", "https://127.0.0.1:6443/");
            assert!(words.contains(cure), "{code}: {words}");
        }
    }

    #[test]
    fn an_overloaded_server_counts_as_away_and_a_refusing_one_does_not() {
        for (code, away) in
            [(401, false), (403, false), (404, false), (409, false), (422, false), (429, true), (503, true)]
        {
            assert_eq!(is_away(&api_error(code)), away, "{code}");
        }
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named_with_the_cure() {
        let node = crate::api::fixtures::node("d1", Some("/nowhere/admin.conf"));
        let error = connect(&node).await.err().expect("there is no such file");
        let words = chain(&error);
        assert!(words.contains("/nowhere/admin.conf") && words.contains("--kubeconfig"), "{words}");
    }
}
