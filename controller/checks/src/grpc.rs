//! gRPC: `grpc.health.v1.Health/Check`, over HTTP/2 with prior knowledge or over TLS.
//!
//! It is made of `h2`, which hyper's HTTP/2 client is made of too. tonic-health would bring tonic, tower and
//! prost and a task for each connection, for two messages of one field each; hyper's client wants tasks as
//! well.
//!
//! Of an answer 16 KiB of headers and 4 KiB of message are taken.

mod wire;

use h2::client::SendRequest;
use h2::{RecvStream, client};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, Uri, Version};
use lvs_crds::GrpcCheck;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::deadline::Deadline;
use crate::dial;
use crate::drive::alongside;
use crate::failure::{Awaited, Failure, Peer, excerpt};
use crate::kind::Target;
use crate::prepared::PrepareError;
use crate::tls::{Speaks, Tls};

const PATH: &str = "/grpc.health.v1.Health/Check";
const HEADERS_LIMIT: u32 = 16 * 1024;
const MESSAGE_LIMIT: usize = 4096;

/// The request, encoded.
#[derive(Debug)]
pub(crate) struct GrpcProbe {
    request: Request<()>,
    message: Bytes,
    service: String,
    tls: Option<Tls>,
}

impl GrpcProbe {
    pub(crate) fn new(check: &GrpcCheck, target: &Target) -> Result<Self, PrepareError> {
        let (scheme, port) = if check.tls.is_some() { ("https", 443) } else { ("http", 80) };
        let authority = match check.tls.as_ref().and_then(|tls| tls.server_name.clone()) {
            Some(name) => name,
            None => target.authority(port),
        };
        let uri = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query(PATH).build();
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri.map_err(|_| PrepareError::ServerName(authority))?;
        request.headers_mut().extend([
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (TE, HeaderValue::from_static("trailers")),
            (USER_AGENT, HeaderValue::from_static("lvs-operator-health-check")),
        ]);
        let tls = check.tls.as_ref().map(|options| Tls::new(options, None, target, Speaks::Http2));
        Ok(Self {
            request,
            message: wire::request(&check.service).into(),
            service: check.service.clone(),
            tls: tls.transpose()?,
        })
    }
}

pub(crate) async fn check(probe: &GrpcProbe, target: &Target, deadline: &Deadline) -> Result<(), Failure> {
    let peer = target.peer();
    let stream = dial::tcp(target, deadline).await?;
    dial::send_at_once(&stream)?;
    match &probe.tls {
        None => exchange(probe, stream, peer, deadline).await,
        Some(tls) => {
            let stream = deadline.within(Awaited::Handshake, tls.handshake(stream, peer)).await?;
            Box::pin(exchange(probe, stream, peer, deadline)).await
        }
    }
}

async fn exchange<S>(probe: &GrpcProbe, stream: S, peer: Peer, deadline: &Deadline) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let whole = async {
        let (sender, connection) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(HEADERS_LIMIT)
            .handshake(stream)
            .await
            .map_err(|error| failure(peer, &error))?;
        alongside(ask(probe, sender, peer, deadline), connection).await
    };
    deadline.within(Awaited::Answer, whole).await
}

async fn ask(
    probe: &GrpcProbe,
    sender: SendRequest<Bytes>,
    peer: Peer,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let failed = |error: h2::Error| failure(peer, &error);
    let mut sender = sender.ready().await.map_err(failed)?;
    let (response, mut message) = sender.send_request(probe.request.clone(), false).map_err(failed)?;
    message.send_data(probe.message.clone(), true).map_err(failed)?;
    let response = response.await.map_err(failed)?;
    let status = response.status().as_u16();
    if status != 200 {
        let (method, path) = ("POST".to_owned(), PATH.to_owned());
        return Err(Failure::HttpStatus { status, method, path, after: deadline.elapsed() });
    }
    let (head, mut body) = response.into_parts();
    // An answer without a message has its status in the only headers that it has.
    let (message, trailers) = if head.headers.contains_key("grpc-status") {
        (Vec::new(), head.headers)
    } else {
        let message = message_of(&mut body, peer).await?;
        (message, body.trailers().await.map_err(failed)?.unwrap_or_default())
    };
    grpc_status(&trailers, probe, peer)?;
    let health = wire::response(&message).map_err(|fault| protocol(peer, fault))?;
    if health == wire::SERVING {
        return Ok(());
    }
    Err(Failure::NotServing {
        peer,
        status: wire::health_name(health),
        service: if probe.service.is_empty() {
            "the server as a whole".to_owned()
        } else {
            format!("service \"{}\"", excerpt(&probe.service))
        },
    })
}

async fn message_of(body: &mut RecvStream, peer: Peer) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| failure(peer, &error))?;
        if message.len() + data.len() > MESSAGE_LIMIT {
            return Err(protocol(peer, "the message is longer than 4 KiB"));
        }
        message.extend_from_slice(&data);
    }
    Ok(message)
}

/// What `grpc-status` and `grpc-message` say.
fn grpc_status(trailers: &HeaderMap, probe: &GrpcProbe, peer: Peer) -> Result<(), Failure> {
    let Some(status) = trailers.get("grpc-status") else {
        return Err(protocol(peer, "there is no grpc-status"));
    };
    let explanation = match status.as_bytes() {
        b"0" => return Ok(()),
        b"5" => format!("it knows no service \"{}\"", excerpt(&probe.service)),
        b"12" => "it has no grpc.health.v1.Health".to_owned(),
        _ => match trailers.get("grpc-message") {
            Some(message) => excerpt(&String::from_utf8_lossy(message.as_bytes())),
            None => "it does not say why".to_owned(),
        },
    };
    let status = wire::status_name(status.as_bytes())
        .map_or_else(|| excerpt(&String::from_utf8_lossy(status.as_bytes())), str::to_owned);
    Err(Failure::GrpcStatus { status, peer, explanation })
}

fn protocol(peer: Peer, fault: &str) -> Failure {
    Failure::Protocol { peer, protocol: "gRPC", fault: fault.to_owned() }
}

/// What an error of h2's says about the server.
fn failure(peer: Peer, error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(error) => Failure::receiving(peer, error),
        None => Failure::Protocol { peer, protocol: "HTTP/2", fault: excerpt(&error.to_string()) },
    }
}
