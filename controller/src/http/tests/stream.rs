//! The status page and its stream.

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use lvs_plan::DestinationKey;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::counters::{Count, Traffic};
use crate::http::selection::Filter;
use crate::view::View;
use crate::view::fixtures as views;

/// An open stream, read as a browser does.
struct Reader {
    body: Incoming,
    text: String,
    /// Ends when the other side hangs up.
    connection: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Reader {
    /// The next event: its fields, up to the blank line.
    async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            let data = frame.into_data().expect("it has no trailers");
            self.text.push_str(std::str::from_utf8(&data).expect("it is text"));
        }
    }

    async fn snapshot(&mut self) -> Value {
        let event = self.event().await.expect("it goes on");
        let data = event.strip_prefix("event: snapshot\ndata: ").expect("a snapshot");
        serde_json::from_str(data).expect("it is JSON")
    }
}

/// Opens a stream; the answer if it is none.
async fn open(at: SocketAddr, path: &str) -> Result<Reader, Response<Incoming>> {
    let stream = TcpStream::connect(at).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    let connection = tokio::spawn(async move { drop(connection.await) });
    let request = Request::get(path).header("host", "d1").body(Empty::<Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("it answers");
    if response.status() != 200 {
        return Err(response);
    }
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Ok(Reader { body: response.into_body(), text: String::new(), connection })
}

async fn stream(at: SocketAddr, path: &str) -> Reader {
    let mut reader = open(at, path).await.expect("it is a stream");
    assert_eq!(reader.event().await.as_deref(), Some("retry: 1000"));
    reader
}

/// One virtual service with one real server that has 7 active connections.
fn declare(served: &Served) {
    fixtures::put(&served.board, fixtures::virtual_service("web", Reason::Announced));
    fixtures::put(&served.board, fixtures::real_server("blue", &["default/web"]));
    let service = views::service("web", views::tcp(80), &[("blue", 12)]);
    count(served, 0);
    served.driver.set(Some(View { services: vec![service] }));
}

fn count(served: &Served, connections: u64) {
    let traffic = Traffic { connections, ..Traffic::default() };
    let at = DestinationKey { address: views::address(12), port: 80 };
    served.counters.set(views::tcp(80), at, Count { traffic, active: 7, inactive: 1, weight: 2 });
}

#[tokio::test]
async fn the_page_is_served_whole_and_may_load_nothing_from_elsewhere() {
    let served = served().await;
    let page = get(served.http, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
    assert!(page.head.contains("content-security-policy: default-src 'none';"), "{}", page.head);
    assert!(page.head.contains("frame-ancestors 'none'"), "{}", page.head);
    assert!(page.body.starts_with("<!doctype html>") && page.body.trim_end().ends_with("</html>"));
    for loaded in ["http://", "https://", " src="] {
        let found: Vec<_> =
            page.body.lines().filter(|line| line.contains(loaded) && !line.contains("w3.org/2000")).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[tokio::test]
async fn a_stream_begins_at_once_and_tells_each_second_what_is_in_force() {
    let served = served().await;
    served.ready();
    declare(&served);
    let begin = Instant::now();
    let mut reader = stream(served.http, "/events").await;
    let first = reader.snapshot().await;
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!((&first["node"], &first["ready"]), (&json!("d1"), &json!(true)));
    let blue = &first["virtualServices"][0]["realServers"][0];
    assert_eq!((&blue["activeConnections"], &blue["connectionsPerSecond"]), (&json!(7), &Value::Null));
    count(&served, 30);
    reader.snapshot().await;
    let third = reader.snapshot().await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(1_900) && took < Duration::from_secs(4), "{took:?}");
    let rate = third["virtualServices"][0]["connectionsPerSecond"].as_f64().expect("a rate");
    assert!((10.0..16.0).contains(&rate), "30 in 2 s are not {rate} a second");
}

#[tokio::test]
async fn a_filter_is_decoded_and_asks_the_kernel_for_what_is_shown_only() {
    let served = served().await;
    declare(&served);
    let mut reader = stream(served.http, "/events?filter=no%20such+thing").await;
    let total = &reader.snapshot().await["total"];
    assert_eq!(*total, json!({"virtualServices": 1, "realServers": 1, "shown": 0, "matching": 0}));
    assert_eq!(served.counters.reads(), 0);
    let mut reader = stream(served.http, "/events?filter=192.168.40.12").await;
    assert_eq!(reader.snapshot().await["total"]["shown"], 1);
    assert_eq!(served.counters.reads(), 1);
    let path = format!("/events?filter={}", "x".repeat(300));
    assert_eq!(open(served.http, &path).await.err().map(|answer| answer.status().as_u16()), Some(400));
}

#[tokio::test]
async fn a_busy_driver_and_an_unreadable_kernel_do_not_stop_the_stream() {
    let served = served().await;
    declare(&served);
    let mut reader = stream(served.http, "/events").await;
    reader.snapshot().await;
    served.driver.set(None);
    served.counters.break_down();
    for _ in 0..2 {
        let snapshot = reader.snapshot().await;
        let blue = &snapshot["virtualServices"][0]["realServers"][0];
        assert_eq!((&blue["name"], &blue["kernelWeight"]), (&json!("blue"), &json!(2)), "as last seen");
        assert_eq!(blue["activeConnections"], Value::Null);
    }
    // Who comes now has never seen anything.
    let snapshot = stream(served.http, "/events").await.snapshot().await;
    assert_eq!(snapshot["virtualServices"][0]["realServers"], json!([]));
}

#[tokio::test]
async fn streams_are_few_and_take_no_place_from_other_requests() {
    let served = served().await;
    let mut readers = Vec::new();
    for _ in 0..events::STREAMS {
        readers.push(stream(served.http, "/events").await);
    }
    let refusal = open(served.http, "/events").await.err().expect("there are too many");
    assert_eq!(refusal.status(), 503);
    assert_eq!(ask(served.http, "HEAD /events HTTP/1.1\r\nHost: d1\r\n\r\n").await.status, 200);
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS - 1 {
        silent.push(TcpStream::connect(served.http).await.expect("it listens"));
    }
    let answer = tokio::time::timeout(HEAD_TIMEOUT / 2, get(served.http, "/healthz")).await;
    assert_eq!(answer.expect("one place is left").status, 200);
    drop(silent);
    readers.pop();
    let again = async {
        while open(served.http, "/events").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("its place becomes free");
}

#[tokio::test]
async fn a_reader_that_was_slow_gets_one_snapshot_and_it_is_new() {
    let sources = served_by::sources(Board::default());
    let places = Arc::new(Semaphore::new(2));
    let [place, permit] = [(); 2].map(|()| Arc::clone(&places).try_acquire_owned().expect("a place"));
    let lease = Arc::new(Lease::new(place, CONNECTION_TIMEOUT));
    let site = Arc::new(Site::new(sources));
    let mut body = Box::pin(events::body(site, Filter::default(), lease, permit));
    let mut next = async || {
        let frame = body.frame().await.expect("it goes on").expect("it does not fail");
        (Instant::now(), frame.into_data().expect("data"))
    };
    next().await;
    next().await;
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let slow_until = jiff::Timestamp::now();
    let (late, snapshot) = next().await;
    let snapshot = std::str::from_utf8(&snapshot).expect("text").strip_prefix("event: snapshot\ndata: ");
    let snapshot: Value = serde_json::from_str(snapshot.expect("a snapshot")).expect("JSON");
    let time: jiff::Timestamp = snapshot["time"].as_str().expect("a time").parse().expect("a time");
    assert!(time.as_millisecond() >= slow_until.as_millisecond(), "{time} is older than {slow_until}");
    let (following, _) = next().await;
    assert!(following - late > Duration::from_millis(900), "{:?}", following - late);
}
