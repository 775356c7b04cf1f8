use lvs_plan::Reason;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixtures as served_by;
use super::*;
use crate::board::fixtures;
use crate::counters::fake::FakeCounters;
use crate::source::{Finding, SourceState};
use crate::view::fixtures::FakeDriver;

mod stream;

fn free_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A server of its own for each test, and its board.
struct Served {
    http: SocketAddr,
    scrape: SocketAddr,
    board: Board,
    metrics: Metrics,
    driver: FakeDriver,
    counters: FakeCounters,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    let (sources, driver, counters) = served_by::controlled(Board::default());
    let (board, metrics) = (sources.board.clone(), sources.metrics.clone());
    let servers = Servers::bind(free_port(), Some(free_port())).await.expect("there are free ports");
    let (http, scrape) = servers.addresses().expect("they are bound");
    let task = servers.serve(sources);
    Served { http, scrape: scrape.expect("it was asked for"), board, metrics, driver, counters, task }
}

impl Served {
    /// The source was read, and nothing stands in the way.
    fn ready(&self) {
        self.board.lock().source = SourceState { complete: true, up_to_date: true, ..SourceState::default() };
    }

    async fn json(&self, path: &str) -> Value {
        let answer = get(self.http, path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        serde_json::from_str(&answer.body).expect("it is JSON")
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn get(at: SocketAddr, path: &str) -> Answer {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: d1\r\n\r\n")).await
}

/// By hand, because what is tested is what goes over the wire.
async fn ask(at: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(at).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers and closes");
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request:?}: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

#[tokio::test]
async fn the_process_is_healthy_before_anything_is_known_and_ready_only_after() {
    let served = served().await;
    assert_eq!(get(served.http, "/healthz").await.status, 200);
    let answer = get(served.http, "/readyz").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "not ready: the objects have not been read yet\n")
    );
    served.ready();
    let answer = get(served.http, "/readyz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn every_reason_for_not_being_ready_is_a_line() {
    let served = served().await;
    served.ready();
    served.board.lock().not_ready = vec!["IPVS is not usable".to_owned(), "the ledger is corrupt".to_owned()];
    let answer = get(served.http, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "not ready: IPVS is not usable\nnot ready: the ledger is corrupt\n");
    assert_eq!(get(served.http, "/healthz").await.status, 200, "the process lives");
}

#[tokio::test]
async fn the_status_is_a_list_of_all_objects_by_kind_namespace_and_name_with_refused_ones() {
    let served = served().await;
    fixtures::put(&served.board, fixtures::refused("late", Reason::Conflict));
    fixtures::put(&served.board, fixtures::virtual_service("early", Reason::Announced));
    fixtures::put(&served.board, fixtures::real_server("rs1", &["default/early"]));
    let list = served.json("/status").await;
    assert_eq!((list["apiVersion"].as_str(), list["kind"].as_str()), (Some("v1"), Some("List")));
    let items = list["items"].as_array().expect("a list");
    let names: Vec<_> = items
        .iter()
        .map(|item| {
            format!("{} {}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(names, ["RealServer rs1", "VirtualService early", "VirtualService late"]);
    let early = &items[1];
    assert_eq!(early["apiVersion"], "lvs-operator.dev/v1alpha1");
    assert_eq!(early["metadata"]["namespace"], "default");
    assert_eq!(early["spec"]["vip"], "172.16.21.10");
    assert_eq!(early["status"]["activeDirector"], "d1");
    assert_eq!(early["status"]["realServers"]["inService"], 2);
    let accepted = &items[2]["status"]["conditions"][0];
    assert_eq!((accepted["type"].as_str(), accepted["status"].as_str()), (Some("Accepted"), Some("False")));
    assert_eq!(accepted["reason"], "Conflict");
}

#[tokio::test]
async fn a_condition_keeps_its_time_between_two_looks() {
    let served = served().await;
    fixtures::put(&served.board, fixtures::virtual_service("web", Reason::Announced));
    let first = served.json("/status").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(served.json("/status").await, first);
}

#[tokio::test]
async fn an_empty_node_has_an_empty_list() {
    let list = served().await.json("/status").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn the_debug_state_says_what_is_wrong_in_the_sources_and_where() {
    let served = served().await;
    let finding = Finding {
        file: "web.yaml".to_owned(),
        line: 4,
        column: 8,
        field: "spec.vpi".to_owned(),
        message: "unknown field".to_owned(),
    };
    served.ready();
    served.board.lock().source.findings = vec![finding];
    served.board.lock().debug.insert("extra", Value::from(7));
    fixtures::put(&served.board, fixtures::virtual_service("web", Reason::Announced));
    let state = served.json("/debug/state").await;
    assert_eq!(state["node"], "d1");
    assert_eq!(state["ready"], true);
    assert_eq!(
        state["sources"],
        serde_json::json!([
            {"file": "web.yaml", "line": 4, "column": 8, "field": "spec.vpi", "message": "unknown field"}
        ])
    );
    assert_eq!(state["objects"]["VirtualService"], 1);
    assert_eq!(state["extra"], 7);
}

#[tokio::test]
async fn metrics_are_served_in_the_format_that_is_asked_for() {
    let served = served().await;
    served.metrics.pass_finished(3, Duration::from_millis(1));
    let plain = get(served.http, "/metrics").await;
    assert!(plain.head.contains("text/plain; version=0.0.4"), "{}", plain.head);
    assert!(plain.body.contains("\nlvs_kernel_writes_total 3\n"), "{}", plain.body);
    let request =
        "GET /metrics HTTP/1.1\r\nHost: d1\r\nAccept: application/openmetrics-text;q=0.9,*/*;q=0.1\r\n\r\n";
    let open = ask(served.http, request).await;
    assert!(open.head.contains("application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
}

#[tokio::test]
async fn the_scraping_address_has_nothing_that_names_objects() {
    let served = served().await;
    for path in ["/healthz", "/metrics"] {
        assert_eq!(get(served.scrape, path).await.status, 200, "{path}");
    }
    assert_eq!(get(served.scrape, "/readyz").await.status, 503);
    for path in ["/status", "/debug/state", "/", "/events"] {
        let answer = get(served.scrape, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.body.contains("/debug/state  "), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_unknown_path_says_which_ones_there_are() {
    let answer = get(served().await.http, "/state?x=1").await;
    assert_eq!(answer.status, 404);
    for path in ["/state", "/healthz", "/readyz", "/metrics", "/ ", "/events", "/status", "/debug/state"] {
        assert!(answer.body.contains(path), "{path} is not in {}", answer.body);
    }
}

#[tokio::test]
async fn it_is_read_only() {
    let served = served().await;
    for method in ["POST", "PUT", "DELETE"] {
        let request = format!("{method} /status HTTP/1.1\r\nHost: d1\r\nContent-Length: 0\r\n\r\n");
        let answer = ask(served.http, &request).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = ask(served.http, "HEAD /healthz HTTP/1.1\r\nHost: d1\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_others_out_for_long() {
    let served = served().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(served.http).await.expect("it listens"));
    }
    // All places are taken; a place is free again once a silent one has used up its time.
    let answer = tokio::time::timeout(HEAD_TIMEOUT * 3, get(served.http, "/healthz")).await;
    assert_eq!(answer.expect("it is answered").status, 200);
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let served = served().await;
    let request = format!("GET / HTTP/1.1\r\nHost: d1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut stream = TcpStream::connect(served.http).await.expect("it listens");
    // It may hang up before everything is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(get(served.http, "/healthz").await.status, 200, "and it goes on");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_flag_address_and_ways_out() {
    let served = served().await;
    let error = Servers::bind(served.http, None).await.expect_err("it is taken");
    assert!(matches!(error, HttpError::Taken { flag: "--http", .. }));
    let text = error.to_string();
    assert!(text.contains(&served.http.to_string()) && text.contains("another lvs-controller?"), "{text}");
    let error = Servers::bind(free_port(), Some(served.scrape)).await.expect_err("it is taken");
    assert!(matches!(error, HttpError::Taken { flag: "--metrics-http", .. }));
}

#[tokio::test]
async fn an_address_of_another_host_is_an_error_that_says_so() {
    let elsewhere = "192.0.2.1:9472".parse().expect("an address");
    let error = Servers::bind(elsewhere, None).await.expect_err("it is not ours");
    assert!(error.to_string().contains("choose an address of this host with --http"), "{error}");
}

#[tokio::test]
async fn after_the_task_is_aborted_nobody_listens() {
    let served = served().await;
    served.task.abort();
    let _ = served.task.await;
    assert!(TcpStream::connect(served.http).await.is_err());
}
