//! A proxy in front of the real API server, which can keep objects to itself: it passes everything on as it is, except
//! that a list comes back empty when it was told so.
//!
//! It speaks HTTP without TLS; `kubectl proxy` behind it has the credentials.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::kubectl::{Kubectl, variable};

type Answer = Result<Response<BoxBody<Bytes, hyper::Error>>, Box<dyn std::error::Error + Send + Sync>>;

/// Ends when it is dropped, with all its connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    lists: Arc<Lists>,
    kubectl: Child,
    _folder: TempDir,
    /// Its threads end with it.
    _runtime: Runtime,
}

/// By the plural of their kind.
#[derive(Default)]
struct Lists {
    answered: Mutex<BTreeMap<String, u32>>,
    to_empty: Mutex<BTreeMap<String, u32>>,
}

impl Proxy {
    pub(crate) fn new(kubectl: &Kubectl) -> Self {
        let folder = TempDir::new().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, kubectl.kubeconfig()).unwrap();
        let mut kubectl = Command::new(variable("LVS_LAB_KUBECTL"))
            .args(["proxy", "--port", "0"])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(kubectl.stdout.take().expect("it is a pipe")).read_line(&mut line).unwrap();
        let upstream: SocketAddr = line
            .trim_end()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("kubectl proxy: {line}"));

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let lists = Arc::new(Lists::default());
        runtime.spawn(serve(listener, upstream, Arc::clone(&lists)));
        Self { address, lists, kubectl, _folder: folder, _runtime: runtime }
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: lab, contexts: [{{name: lab, context: {{cluster: lab, \
             user: lab}}}}], users: [{{name: lab}}], clusters: [{{name: lab, cluster: {{server: \"http://{}\"}}}}]}}\n",
            self.address
        )
    }

    /// The next lists of this kind come back empty, so many of them.
    pub(crate) fn empty_next(&self, plural: &str, lists: u32) {
        self.lists.to_empty.lock().unwrap().insert(plural.to_owned(), lists);
    }

    /// How many lists of this kind were answered, true and empty ones.
    pub(crate) fn answered(&self, plural: &str) -> u32 {
        self.lists.answered.lock().unwrap().get(plural).copied().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, lists: Arc<Lists>) {
    while let Ok((client, _)) = listener.accept().await {
        let lists = Arc::clone(&lists);
        let service = service_fn(move |request| answer(request, upstream, Arc::clone(&lists)));
        // A client that hangs up is no concern of the proxy.
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service),
        );
    }
}

async fn answer(mut request: Request<Incoming>, upstream: SocketAddr, lists: Arc<Lists>) -> Answer {
    let listed = listed(&request);
    request.headers_mut().remove(ACCEPT_ENCODING);
    let server = TcpStream::connect(upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(server)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    match listed {
        Some(plural) if response.status().is_success() => {
            let is_empty = lists.is_to_be_empty(&plural);
            let response = if is_empty { emptied(response).await } else { Ok(response.map(BodyExt::boxed)) };
            *lists.answered.lock().unwrap().entry(plural).or_default() += 1;
            response
        }
        _ => Ok(response.map(BodyExt::boxed)),
    }
}

/// The kind that a request lists, from its beginning.
fn listed(request: &Request<Incoming>) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let is_list =
        request.method() == Method::GET && !query.contains("watch=") && !query.contains("continue=");
    let plural = request.uri().path().strip_prefix("/apis/lvs-operator.dev/v1alpha1/")?;
    (is_list && !plural.contains('/')).then(|| plural.to_owned())
}

impl Lists {
    fn is_to_be_empty(&self, plural: &str) -> bool {
        let mut to_empty = self.to_empty.lock().unwrap();
        let left = to_empty.get_mut(plural).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// The same list with nothing in it.
async fn emptied(response: Response<Incoming>) -> Answer {
    let (mut head, body) = response.into_parts();
    let mut list: serde_json::Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    list["items"] = serde_json::json!([]);
    list["metadata"]["continue"] = "".into();
    list["metadata"]["remainingItemCount"] = serde_json::Value::Null;
    head.headers.remove(CONTENT_LENGTH);
    let body = Full::new(Bytes::from(list.to_string())).map_err(|never| match never {});
    Ok(Response::from_parts(head, body.boxed()))
}
