//! gRPC: `grpc.health.v1.Health/Check`, over HTTP/2 with prior knowledge or over TLS.
//!
//! tonic-health's client speaks over hyper's HTTP/2, which it is given by [`Connection`] on a socket of ours.
//! Hyper wants tasks: they run within the check ([`Tasks`]) and end with it. Not tonic's transport: it spawns
//! tasks that outlive a call, and knows neither source addresses nor marks.
//!
//! Of an answer 16 KiB of headers and 4 KiB of messages are taken.

pub(crate) mod answer;

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, join};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use lvs_crds::GrpcCheck;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body as Sent;
use tonic::client::GrpcService;
use tonic::codegen::StdError as BoxError;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::deadline::Deadline;
use crate::drive::{Tasks, alongside};
use crate::failure::{Awaited, Failure, Peer, excerpt};
use crate::kind::Target;
use crate::prepared::PrepareError;
use crate::tls::{Speaks, Tls};
use crate::{dial, http};
use answer::{Answer, Asked};

const HTTP2: &str = "HTTP/2";
const HEADERS_LIMIT: u32 = 16 * 1024;
/// All messages of an answer with the frames around them, in bytes. A server may not send more ahead.
const MESSAGE_LIMIT: u16 = 4096;

/// Whom to ask for what.
#[derive(Debug)]
pub(crate) struct GrpcProbe {
    /// Scheme and authority.
    origin: Uri,
    service: Arc<str>,
    tls: Option<Tls>,
}

impl GrpcProbe {
    pub(crate) fn new(check: &GrpcCheck, target: &Target) -> Result<Self, PrepareError> {
        let (scheme, port) = if check.tls.is_some() { ("https", 443) } else { ("http", 80) };
        let authority = match check.tls.as_ref().and_then(|tls| tls.server_name.clone()) {
            Some(name) => name,
            None => target.authority(port),
        };
        let origin = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query("/").build();
        let tls = check.tls.as_ref().map(|options| Tls::new(options, None, target, Speaks::Http2));
        Ok(Self {
            origin: origin.map_err(|_| PrepareError::ServerName(authority))?,
            service: check.service.as_str().into(),
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
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let whole = async {
        let (tasks, running) = Tasks::new();
        let (sender, connection) = http2::Builder::new(tasks)
            .max_header_list_size(HEADERS_LIMIT)
            .initial_stream_window_size(u32::from(MESSAGE_LIMIT))
            .initial_connection_window_size(u32::from(u16::MAX))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| http::failure(peer, HTTP2, &error))?;
        let asked = Asked { peer, service: Arc::clone(&probe.service) };
        let ask = ask(probe, Connection { sender, asked, deadline: *deadline }, peer);
        alongside(ask, join(connection, running.all())).await
    };
    deadline.within(Awaited::Answer, whole).await
}

pub(crate) async fn ask<C>(probe: &GrpcProbe, connection: C, peer: Peer) -> Result<(), Failure>
where
    C: GrpcService<Sent>,
    C::ResponseBody: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
{
    let mut client = HealthClient::with_origin(connection, probe.origin.clone())
        .max_decoding_message_size(usize::from(MESSAGE_LIMIT));
    let request = HealthCheckRequest { service: probe.service.to_string() };
    let answer = client.check(request).await.map_err(|status| failure(peer, &status))?;
    let status = answer.into_inner().status;
    let name = match ServingStatus::try_from(status) {
        Ok(ServingStatus::Serving) => return Ok(()),
        Ok(other) => other.as_str_name().to_owned(),
        Err(_) => format!("status {status}"),
    };
    Err(Failure::NotServing {
        peer,
        status: name,
        service: if probe.service.is_empty() {
            "the server as a whole".to_owned()
        } else {
            format!("service \"{}\"", excerpt(&probe.service))
        },
    })
}

/// The connection as tonic's client wants it. It gives failures of ours as errors, also where a server's
/// status says that something is wrong: a status of tonic's own making is none of the server's.
struct Connection {
    sender: http2::SendRequest<Sent>,
    asked: Asked,
    deadline: Deadline,
}

impl GrpcService<Sent> for Connection {
    type ResponseBody = Answer<Incoming>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<Answer<Incoming>>, Failure>>;

    /// A connection takes one request before it is known to work.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Sent>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("lvs-operator-health-check"));
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let (asked, deadline) = (self.asked.clone(), self.deadline);
        let answer = self.sender.send_request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| http::failure(asked.peer, HTTP2, &error))?;
            let status = answer.status().as_u16();
            if status != 200 {
                return Err(Failure::HttpStatus { status, method, path, after: deadline.elapsed() });
            }
            Answer::new(asked, answer)
        })
    }
}

/// What an error of tonic's is: a failure of ours that it was given, or what it found wrong with a message.
fn failure(peer: Peer, status: &tonic::Status) -> Failure {
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.clone();
        }
        source = cause.source();
    }
    Failure::Protocol { peer, protocol: "gRPC", fault: excerpt(status.message()) }
}
