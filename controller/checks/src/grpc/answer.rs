//! What comes back from a call, on its way to tonic: up to a limit, and with what it says about itself read.
//!
//! tonic makes statuses too, for messages that it cannot read, and they look like a server's. So a server's
//! own is taken out here, as a [`Failure`], which goes through tonic as it is.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body_util::Limited;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::{HeaderMap, Response};
use percent_encoding::percent_decode;
use tonic::codegen::StdError as BoxError;

use super::{HTTP2, MESSAGE_LIMIT};
use crate::failure::{Failure, Peer, excerpt};
use crate::http;

const STATUS: &str = "grpc-status";
/// In words, percent-encoded.
const MESSAGE: &str = "grpc-message";
/// Nobody reads it here.
const DETAILS: &str = "grpc-status-details-bin";

/// Who was asked for what, for the words of a failure.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) peer: Peer,
    pub(crate) service: Arc<str>,
}

impl Asked {
    /// What the headers or trailers with the status say. tonic gets to see the status alone: it panics where
    /// the details are no base64, and logs what is wrong with the message.
    fn status(&self, fields: &mut HeaderMap) -> Result<(), Failure> {
        let (message, _) = (fields.remove(MESSAGE), fields.remove(DETAILS));
        let Some(status) = fields.get(STATUS) else { return Err(self.fault("there is no grpc-status")) };
        let explanation = match status.as_bytes() {
            b"0" => return Ok(()),
            b"5" => format!("it knows no service \"{}\"", excerpt(&self.service)),
            b"12" => "it has no grpc.health.v1.Health".to_owned(),
            _ => match message.filter(|message| !message.is_empty()) {
                Some(message) => excerpt(&percent_decode(message.as_bytes()).decode_utf8_lossy()),
                None => "it does not say why".to_owned(),
            },
        };
        Err(Failure::GrpcStatus { status: status_name(status.as_bytes()), peer: self.peer, explanation })
    }

    fn fault(&self, fault: &str) -> Failure {
        Failure::Protocol { peer: self.peer, protocol: "gRPC", fault: fault.to_owned() }
    }
}

/// An answer's body, which ends with a status or a failure.
pub(crate) struct Answer<B> {
    body: Limited<B>,
    asked: Asked,
    has_status: bool,
}

impl<B> Answer<B> {
    pub(crate) fn new(asked: Asked, answer: Response<B>) -> Result<Response<Self>, Failure> {
        let (mut head, body) = answer.into_parts();
        // An answer without a message has its status in the only headers that it has.
        let has_status = head.headers.contains_key(STATUS);
        if has_status {
            asked.status(&mut head.headers)?;
        }
        let body = Limited::new(body, usize::from(MESSAGE_LIMIT));
        Ok(Response::from_parts(head, Self { body, asked, has_status }))
    }

    fn read(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, Failure> {
        if let Some(trailers) = frame.trailers_mut() {
            self.asked.status(trailers)?;
            self.has_status = true;
        }
        Ok(frame)
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => Some(self.read(frame)),
            Some(Err(error)) => Some(Err(match error.downcast_ref::<hyper::Error>() {
                Some(error) => http::failure(self.asked.peer, HTTP2, error),
                None => self.asked.fault("the answer is longer than 4 KiB"),
            })),
            None if self.has_status => None,
            None => Some(Err(self.asked.fault("there is no grpc-status"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.has_status && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A status by its name, else as it came. (tonic has them as sentences.)
fn status_name(status: &[u8]) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let text = String::from_utf8_lossy(status);
    let name = text.parse::<usize>().ok().and_then(|number| NAMES.get(number));
    name.map_or_else(|| excerpt(&text), |name| (*name).to_owned())
}
