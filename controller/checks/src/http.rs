//! HTTP/1.1, in the clear or over TLS: one request on a connection of its own.
//!
//! Of an answer's head 16 KiB are taken at most, of its body the first 64 KiB are looked at; without an
//! expectation of the body none is read beyond what came with the head.

pub(crate) mod body;
pub(crate) mod statuses;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    USER_AGENT,
};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use lvs_crds::{HttpCheck, HttpMethod};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::deadline::Deadline;
use crate::dial;
use crate::drive::alongside;
use crate::failure::{Awaited, Failure, Peer, excerpt};
use crate::kind::Target;
use crate::prepared::PrepareError;
use crate::tls::Tls;
pub(crate) use body::contains;
use body::{Expectation, Verdict};
use statuses::Statuses;

/// So much of a body is looked at, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
const HEAD_LIMIT: usize = 16 * 1024;
const HTTP: &str = "HTTP/1.1";

/// In the clear or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// The request and what its answer must look like.
#[derive(Debug)]
pub(crate) struct HttpProbe {
    request: Request<Empty<Bytes>>,
    statuses: Statuses,
    body: Option<Expectation>,
}

impl HttpProbe {
    pub(crate) fn new(check: &HttpCheck, target: &Target, scheme: Scheme) -> Result<Self, PrepareError> {
        // A whole URL does not come back as it is, nor does a fragment, which is never sent.
        let whole = |uri: &Uri| {
            check.path.starts_with('/') && uri.path_and_query().is_some_and(|it| *it == check.path[..])
        };
        let uri = check.path.parse::<Uri>().ok().filter(whole);
        let uri = uri.ok_or_else(|| PrepareError::Path(check.path.clone()))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.method_mut() = match check.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Options => Method::OPTIONS,
            HttpMethod::Post => Method::POST,
        };
        *request.headers_mut() = headers(check, target, scheme)?;
        Ok(Self {
            request,
            statuses: Statuses::new(&check.expected_statuses)?,
            body: Expectation::new(check.body_contains.as_deref(), check.body_regex.as_deref())?,
        })
    }
}

fn headers(check: &HttpCheck, target: &Target, scheme: Scheme) -> Result<HeaderMap, PrepareError> {
    let host = match &check.host {
        Some(host) => host.clone(),
        None => target.authority(if scheme == Scheme::Https { 443 } else { 80 }),
    };
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::try_from(&host).map_err(|_| PrepareError::Host(host))?);
    headers.insert(USER_AGENT, HeaderValue::from_static("lvs-operator-health-check"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let mut given = HeaderMap::new();
    for header in &check.headers {
        let refused = || PrepareError::Header(header.name.clone());
        let name = HeaderName::try_from(&header.name).map_err(|_| refused())?;
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
            return Err(refused());
        }
        given.append(name, HeaderValue::try_from(&header.value).map_err(|_| refused())?);
    }
    // What is given replaces ours of the same name.
    headers.extend(given);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if check.method == HttpMethod::Post {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(headers)
}

pub(crate) async fn check(
    probe: &HttpProbe,
    tls: Option<&Tls>,
    target: &Target,
    deadline: &Deadline,
) -> Result<(), Failure> {
    let peer = target.peer();
    let stream = dial::tcp(target, deadline).await?;
    dial::send_at_once(&stream)?;
    match tls {
        None => exchange(probe, stream, peer, deadline).await,
        Some(tls) => {
            let stream = deadline.within(Awaited::Handshake, tls.handshake(stream, peer)).await?;
            exchange(probe, stream, peer, deadline).await
        }
    }
}

async fn exchange<S>(probe: &HttpProbe, stream: S, peer: Peer, deadline: &Deadline) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error: hyper::Error| failure(peer, HTTP, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let exchange = async {
        let answer = async { sender.send_request(probe.request.clone()).await.map_err(failed) };
        let answer = deadline.within(Awaited::Answer, answer).await?;
        let status = answer.status().as_u16();
        if !probe.statuses.contain(status) {
            return Err(Failure::HttpStatus {
                status,
                method: probe.request.method().to_string(),
                path: excerpt(probe.request.uri().path()),
                after: deadline.elapsed(),
            });
        }
        let Some(expectation) = &probe.body else { return Ok(()) };
        deadline.within(Awaited::End, look_at(expectation, answer.into_body(), peer)).await
    };
    alongside(exchange, connection).await
}

/// Reads a body until it is decided whether it is as expected.
async fn look_at(expectation: &Expectation, mut body: Incoming, peer: Peer) -> Result<(), Failure> {
    let mut looked_at = Vec::new();
    loop {
        let searched = looked_at.len();
        let ended = match body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                looked_at.extend_from_slice(&data[..data.len().min(BODY_LIMIT - looked_at.len())]);
                looked_at.len() == BODY_LIMIT
            }
            Some(Err(error)) => return Err(failure(peer, HTTP, &error)),
            None => true,
        };
        match expectation.verdict(&looked_at, searched, ended) {
            Verdict::Met => return Ok(()),
            Verdict::Missed(expected) => {
                return Err(Failure::Body { looked_at: looked_at.len(), expected });
            }
            Verdict::Undecided => {}
        }
    }
}

/// What an error of hyper's says about the server.
pub(crate) fn failure(peer: Peer, protocol: &'static str, error: &hyper::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    loop {
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return Failure::receiving(peer, error);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::Closed { peer };
    }
    Failure::Protocol { peer, protocol, fault: excerpt(&cause.to_string()) }
}

#[cfg(test)]
mod tests {
    use lvs_crds::HttpHeader;

    use super::*;

    fn prepared(check: &HttpCheck) -> Result<HttpProbe, PrepareError> {
        let target = Target { address: [192, 0, 2, 1].into(), port: Some(8080), source: None, mark: None };
        HttpProbe::new(check, &target, Scheme::Http)
    }

    fn check() -> HttpCheck {
        HttpCheck { path: "/healthz?full=1".to_owned(), ..HttpCheck::default() }
    }

    #[test]
    fn the_host_is_the_servers_address_unless_it_is_given() {
        let host = |check: &HttpCheck| prepared(check).unwrap().request.headers()[HOST].clone();
        assert_eq!(host(&check()), "192.0.2.1:8080");
        assert_eq!(host(&HttpCheck { host: Some("example.com".to_owned()), ..check() }), "example.com");
        let header = HttpHeader { name: "Host".to_owned(), value: "other.example".to_owned() };
        assert_eq!(host(&HttpCheck { headers: vec![header], ..check() }), "other.example");

        let v6 =
            Target { address: "2001:db8::1".parse().unwrap(), port: Some(443), source: None, mark: None };
        let probe = HttpProbe::new(&check(), &v6, Scheme::Https).unwrap();
        assert_eq!(probe.request.headers()[HOST], "[2001:db8::1]");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before() {
        let header = |name: &str, value: &str| HttpCheck {
            headers: vec![HttpHeader { name: name.to_owned(), value: value.to_owned() }],
            ..check()
        };
        assert!(prepared(&header("X-Tenant", "a b")).is_ok());
        for (name, value) in
            [("X Tenant", "a"), ("X-Tenant", "a\r\nb: c"), ("Content-Length", "5"), ("", "a")]
        {
            let refused = prepared(&header(name, value)).unwrap_err();
            assert_eq!(refused, PrepareError::Header(name.to_owned()));
        }
        for path in ["", "healthz", "*", "/a b", "/a#b", "http://elsewhere/"] {
            let refused = prepared(&HttpCheck { path: path.to_owned(), ..check() }).unwrap_err();
            assert_eq!(refused, PrepareError::Path(path.to_owned()));
        }
    }
}
