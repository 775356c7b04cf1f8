use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lvs_checks::{Kind, Prepared};
use lvs_crds::GrpcCheck;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::https::Authority;
use crate::server::{ask, failure, hold, late_failure, nobody, says, target, tcp};

const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

/// What a server answers.
#[derive(Clone)]
struct Answer {
    status: u16,
    frame: Vec<u8>,
    /// `grpc-status` and `grpc-message`, in the trailers.
    trailers: Vec<(&'static str, &'static str)>,
}

impl Answer {
    fn frame(frame: &[u8]) -> Self {
        Self { status: 200, frame: frame.to_vec(), trailers: vec![("grpc-status", "0")] }
    }

    fn health(status: u8) -> Self {
        Self::frame(&[0, 0, 0, 0, 2, 0x08, status])
    }

    /// Without a message: the status is in the headers.
    fn error(trailers: &[(&'static str, &'static str)]) -> Self {
        Self { status: 200, frame: Vec::new(), trailers: trailers.to_vec() }
    }
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

type Sent = BoxBody<Bytes, Infallible>;

fn respond(answer: Answer) -> Response<Sent> {
    let mut response = Response::new(BoxBody::default());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    if answer.frame.is_empty() {
        response.headers_mut().extend(fields(&answer.trailers));
    } else {
        let trailers = async move { Some(Ok(fields(&answer.trailers))) };
        *response.body_mut() = Full::new(Bytes::from(answer.frame)).with_trailers(trailers).boxed();
    }
    response
}

type Heard = mpsc::UnboundedSender<(Request<()>, Vec<u8>)>;

async fn connection<S>(stream: S, answer: Answer, heard: Option<Heard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, heard) = (answer.clone(), heard.clone());
        async move {
            let (head, body) = request.into_parts();
            let message = body.collect().await?.to_bytes();
            if let Some(heard) = heard {
                heard.send((Request::from_parts(head, ()), message.to_vec())).unwrap();
            }
            Ok::<_, hyper::Error>(respond(answer))
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(answer: Answer) -> SocketAddr {
    tcp(move |stream| connection(stream, answer.clone(), None)).await
}

fn check() -> Kind {
    Kind::Grpc(GrpcCheck::default())
}

#[tokio::test]
async fn a_server_that_serves_works() {
    assert_eq!(ask(&check(), serve(Answer::health(1)).await).await, Ok(()));
}

#[tokio::test]
async fn the_request_asks_for_the_service() {
    let (heard, mut requests) = mpsc::unbounded_channel();
    let address = tcp(move |stream| connection(stream, Answer::frame(SERVING), Some(heard.clone()))).await;
    let service = Kind::Grpc(GrpcCheck { service: "a.B".to_owned(), tls: None });
    assert_eq!(ask(&service, address).await, Ok(()));
    let (request, message) = requests.recv().await.unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().to_string(), format!("http://{address}/grpc.health.v1.Health/Check"));
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(message, [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
}

#[tokio::test]
async fn a_server_that_does_not_serve_is_told() {
    for (status, name) in [(0, "UNKNOWN"), (2, "NOT_SERVING"), (3, "SERVICE_UNKNOWN"), (9, "status 9")] {
        let (reason, words) = failure(&check(), serve(Answer::health(status)).await).await;
        assert_eq!(reason, "not_serving");
        assert_eq!(words, format!("127.0.0.1:PORT says {name} for the server as a whole"));
    }
    let service = Kind::Grpc(GrpcCheck { service: "a.B".to_owned(), tls: None });
    let (_, words) = failure(&service, serve(Answer::health(2)).await).await;
    assert_eq!(words, "127.0.0.1:PORT says NOT_SERVING for service \"a.B\"");
    // No status is the first of the enum, UNKNOWN.
    assert_eq!(failure(&check(), serve(Answer::frame(&[0; 5])).await).await.0, "not_serving");
}

#[tokio::test]
async fn errors_of_grpc_are_told() {
    for (trailers, words) in [
        (&[("grpc-status", "12")][..], "UNIMPLEMENTED from 127.0.0.1:PORT: it has no grpc.health.v1.Health"),
        (&[("grpc-status", "5")], "NOT_FOUND from 127.0.0.1:PORT: it knows no service \"\""),
        (
            &[("grpc-status", "14"), ("grpc-message", "shutting down")],
            "UNAVAILABLE from 127.0.0.1:PORT: shutting down",
        ),
        (&[("grpc-status", "99")], "99 from 127.0.0.1:PORT: it does not say why"),
    ] {
        let address = serve(Answer::error(trailers)).await;
        assert_eq!(failure(&check(), address).await, ("status", format!("gRPC status {words}")));
        // After a message too.
        let late = Answer { frame: SERVING.to_vec(), ..Answer::error(trailers) };
        assert_eq!(failure(&check(), serve(late).await).await.0, "status");
    }
}

#[tokio::test]
async fn what_a_status_says_about_itself_can_be_anything() {
    let message = [("grpc-status", "3"), ("grpc-message", "50%25 of it%zz%ff")];
    let (reason, words) = failure(&check(), serve(Answer::error(&message)).await).await;
    let expected = "gRPC status INVALID_ARGUMENT from 127.0.0.1:PORT: 50% of it%zz\u{fffd}";
    assert_eq!((reason, &words[..]), ("status", expected));
    // tonic expects base64, and panics.
    for status in ["0", "3"] {
        let details = [("grpc-status", status), ("grpc-status-details-bin", "!")];
        let reason = if status == "0" { "protocol" } else { "status" };
        assert_eq!(failure(&check(), serve(Answer::error(&details)).await).await.0, reason);
        let late = Answer { frame: SERVING.to_vec(), ..Answer::error(&details) };
        let result = ask(&check(), serve(late).await).await;
        assert_eq!(result.is_ok(), status == "0", "{result:?}");
    }
    let undefined = [("grpc-status", "-1"), ("grpc-message", "")];
    let (_, words) = failure(&check(), serve(Answer::error(&undefined)).await).await;
    assert_eq!(words, "gRPC status -1 from 127.0.0.1:PORT: it does not say why");
}

#[tokio::test]
async fn a_web_server_with_http2_is_no_grpc_server() {
    let missing = Answer { status: 404, ..Answer::error(&[]) };
    let (reason, words) = failure(&check(), serve(missing).await).await;
    assert_eq!(reason, "status");
    assert!(words.starts_with("HTTP 404 from POST /grpc.health.v1.Health/Check in "), "{words}");
    let page = Answer { frame: b"<html>".to_vec(), ..Answer::error(&[]) };
    assert_eq!(failure(&check(), serve(page).await).await.0, "protocol");
}

#[tokio::test]
async fn messages_that_are_none_are_told() {
    for frame in [
        &[0, 0, 0, 0, 2, 0x08][..],
        &[1, 0, 0, 0, 2, 0x08, 1],
        &[0, 0, 0, 0, 1, 0x08],
        &[0, 0, 0, 0, 3, 0x0a, 1, 1],
        &[0; 5000],
    ] {
        let (reason, words) = failure(&check(), serve(Answer::frame(frame)).await).await;
        assert_eq!(reason, "protocol", "{words}");
        assert!(words.starts_with("127.0.0.1:PORT does not speak gRPC: "), "{words}");
    }
    let without_status = Answer { trailers: vec![("x", "y")], ..Answer::frame(SERVING) };
    let (_, words) = failure(&check(), serve(without_status).await).await;
    assert_eq!(words, "127.0.0.1:PORT does not speak gRPC: there is no grpc-status");
    let without_trailers = Answer { trailers: Vec::new(), ..Answer::frame(SERVING) };
    let (_, words) = failure(&check(), serve(without_trailers).await).await;
    assert_eq!(words, "127.0.0.1:PORT does not speak gRPC: there is no grpc-status");
    // OK, and no message.
    assert_eq!(failure(&check(), serve(Answer::error(&[("grpc-status", "0")])).await).await.0, "protocol");
}

/// Answers by one message after the other. (Hyper ends the connection itself where many frames hold little.)
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from(SERVING.repeat(70))))))
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_not_read_to_the_end() {
    let address = tcp(|stream| async move {
        let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Endless)) });
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let (reason, words) = failure(&check(), address).await;
    let expected = "127.0.0.1:PORT does not speak gRPC: the answer is longer than 4 KiB";
    assert_eq!((reason, &words[..]), ("protocol", expected));
}

#[tokio::test]
async fn nothing_of_a_check_that_is_dropped_stays() {
    let (ended, mut end) = mpsc::unbounded_channel();
    let address = tcp(move |mut stream| {
        let ended = ended.clone();
        async move {
            // Hears the preface and the request, and says nothing.
            let mut heard = 0;
            let end = loop {
                match stream.read(&mut [0; 1024]).await {
                    Ok(length) if length > 0 => heard += length,
                    end => break end.map_err(|error| error.kind()),
                }
            };
            ended.send((heard, end)).unwrap();
        }
    })
    .await;
    let target = target(address);
    let prepared = Prepared::new(&check(), &target).unwrap();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let sockets = lvs_checks::Sockets::default();
    let asking = lvs_checks::check(&prepared, &target, Duration::from_secs(60), &sockets);
    assert!(tokio::time::timeout(Duration::from_millis(300), asking).await.is_err());
    // The server's own: the listener, and the connection unless it has ended by now.
    assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() <= tasks + 1);
    let (heard, end) = end.recv().await.unwrap();
    assert!(heard > 24, "a preface alone has 24 bytes, and {heard} came");
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn what_is_not_http2_is_told() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\0\0\0\0\0\0\0\0\0\0", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let address = tcp(move |mut stream| async move {
            let _ = stream.write_all(answer.as_bytes()).await;
            hold(stream).await;
        })
        .await;
        let (reason, words) = failure(&check(), address).await;
        assert_eq!(reason, "protocol", "{answer:?}: {words}");
    }
}

#[tokio::test]
async fn who_leaves_or_stays_silent_is_told() {
    assert_eq!(failure(&check(), nobody().await).await.0, "refused");
    let (reason, words) = late_failure(&check(), tcp(hold).await).await;
    assert_eq!((reason, &words[..]), ("timeout", "no answer from 127.0.0.1:PORT within 300 ms"));
    let (reason, words) = failure(&check(), says("").await).await;
    assert!(["closed", "reset"].contains(&reason), "{words}");
    // After the settings, and after the end of all streams is said: in the middle of the call.
    for (last, expected) in [
        (&b""[..], "127.0.0.1:PORT closed the connection before the end of its answer"),
        (
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b",
            "127.0.0.1:PORT does not speak HTTP/2: connection error received: detected excessive load \
             generating behavior",
        ),
    ] {
        let address = tcp(move |mut stream| async move {
            let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
            let _ = stream.write_all(last).await;
            let _ = stream.shutdown().await;
            hold(stream).await;
        })
        .await;
        let (_, words) = failure(&check(), address).await;
        assert_eq!(words, expected);
    }
}

#[tokio::test]
async fn it_can_be_asked_over_tls() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("127.0.0.1", b"h2");
    let address = tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            connection(stream, Answer::health(1), None).await;
        }
    })
    .await;
    let over_tls = |options| Kind::Grpc(GrpcCheck { service: String::new(), tls: Some(options) });
    assert_eq!(ask(&over_tls(authority.options()), address).await, Ok(()));
    let (reason, words) = failure(&over_tls(Authority::new("a stranger").options()), address).await;
    assert_eq!((reason, &words[..]), ("tls", "certificate of 127.0.0.1:PORT: unknown issuer"));
}
