//! The writer before an API server in memory, on virtual time: how often it writes while ten thousand objects
//! change.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use lvs_crds::{ConditionStatus, RealServerCounts};
use lvs_plan::Reason;
use lvs_plan::conditions::ConditionValue;
use serde_json::{Value, json};
use tokio::time::{Instant as Moment, sleep};

use super::*;
use crate::api::events;
use crate::board::fixtures;

const SERVERS: usize = 10_000;
/// As many flap all the time.
const FLAPPING: usize = 50;
/// Between two passes of the driver: what flaps is another way a second later.
const PASS: Duration = Duration::from_millis(333);
/// So many passes: longer than the writer needs for all of them.
const PASSES: usize = 400;
/// So many servers fail from one pass to the next.
const FAIL: usize = 1000;

/// What the API server was told, by the path of the object.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Written>,
    writes: usize,
}

#[derive(Default)]
struct Written {
    /// The status, as far as each manager wrote it.
    parts: BTreeMap<String, Value>,
    /// When each of them wrote.
    times: BTreeMap<String, Vec<Moment>>,
}

impl Server {
    /// A connection to it. It takes its time for each request, and sometimes long.
    fn connection(server: &Arc<Mutex<Self>>) -> Connection {
        let server = Arc::clone(server);
        let serve = move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("it is in memory").to_bytes();
                let body: Value = serde_json::from_slice(&body).expect("JSON");
                let manager = head.uri.query().expect("it names its manager").to_owned();
                let number = server.lock().expect("nobody panics").writes;
                let slow = if number.is_multiple_of(50) { 300 } else { 0 };
                sleep(Duration::from_millis(1 + (number % 7) as u64 + slow)).await;
                let answer = server.lock().expect("nobody panics").write(head.uri.path(), manager, body);
                sleep(Duration::from_millis(1)).await;
                Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        };
        let client = Client::new(tower::service_fn(serve), "default");
        Connection { client, address: "https://memory/".to_owned() }
    }

    fn write(&mut self, path: &str, manager: String, mut object: Value) -> Value {
        self.writes += 1;
        let written = self.objects.entry(path.to_owned()).or_default();
        written.times.entry(manager.clone()).or_default().push(Moment::now());
        written.parts.insert(manager, object["status"].clone());
        let fields = written.parts.values().flat_map(|part| part.as_object().expect("a map").clone());
        object["status"] = Value::Object(fields.collect());
        object["spec"] = match &object["kind"] {
            kind if kind == "RealServer" => json!({"address": "192.168.40.12"}),
            _ => json!({"vip": "172.16.21.10", "ports": [{"port": 80}]}),
        };
        object
    }

    /// By the object and who writes: how often it was written, and the shortest time between two of these.
    fn paces(&self) -> impl Iterator<Item = (&str, usize, Option<Duration>)> {
        self.objects.iter().flat_map(|(path, written)| {
            written.times.values().map(move |times| {
                let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
                (path.as_str(), times.len(), pauses.min())
            })
        })
    }

    fn forget_times(&mut self) {
        self.objects.values_mut().for_each(|written| written.times.clear());
    }
}

/// The driver's side, and the server.
struct Storm {
    board: Board,
    server: Arc<Mutex<Server>>,
    down: Vec<bool>,
}

impl Storm {
    /// The writer runs, and all is written.
    async fn start() -> Self {
        let board = Board::default();
        let me =
            Directors { me: "d1".to_owned(), ready: true, published: true, others: Some(BTreeMap::new()) };
        let (told, directors) = watch::channel(me);
        let (events, _) = events::queue(board.clone());
        let server = Arc::new(Mutex::new(Server::default()));
        let (connected, connection) = watch::channel(Some(Server::connection(&server)));
        let mut writer = Writer::new(board.clone(), Statuses::default(), directors, events);
        tokio::spawn(async move {
            let _senders = (told, connected);
            writer.run(connection).await;
        });
        let storm = Self { board, server, down: vec![false; SERVERS] };
        (0..SERVERS).for_each(|number| storm.put(number));
        storm.tell();
        storm.rest().await;
        storm
    }

    fn put(&self, number: usize) {
        let mut entry = fixtures::real_server(&format!("rs{number}"), &["default/web"]);
        let (status, reason) = if self.down[number] {
            (ConditionStatus::False, Reason::CheckFailed)
        } else {
            (ConditionStatus::True, Reason::CheckPassed)
        };
        entry.verdict.conditions.push(ConditionValue {
            type_: "Healthy",
            status,
            reason,
            message: String::new(),
        });
        self.put_entry(entry);
    }

    fn put_entry(&self, entry: Entry) {
        self.board.lock().dirty.insert(entry.object.key.clone());
        fixtures::put(&self.board, entry);
    }

    /// The end of a pass.
    fn tell(&self) {
        let mut web = fixtures::virtual_service("web", Reason::Announced);
        let up: i32 = self.down.iter().map(|down| i32::from(!*down)).sum();
        web.verdict.real_servers = Some(RealServerCounts { total: 10_000, healthy: up, in_service: up });
        self.put_entry(web);
        self.board.announce_change();
    }

    /// Waits until nothing is written any more, for longer than any pace.
    async fn rest(&self) {
        let mut before = None;
        loop {
            let now = self.server.lock().expect("nobody panics").writes;
            if before.replace(now) == Some(now) {
                return;
            }
            sleep(Duration::from_secs(61)).await;
        }
    }

    fn said_of(&self, number: usize) -> Value {
        let server = self.server.lock().expect("nobody panics");
        let path =
            format!("/apis/lvs-operator.dev/v1alpha1/namespaces/default/realservers/rs{number}/status");
        let parts = &server.objects[&path].parts;
        let conditions = parts.values().next().expect("a status")["conditions"].as_array().cloned();
        let mut conditions = conditions.expect("a list").into_iter();
        conditions.find(|it| it["type"] == "Healthy").expect("it is there")["status"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn while_ten_thousand_servers_fail_and_some_flap_no_status_is_written_twice_within_a_second() {
    let mut storm = Storm::start().await;
    {
        let mut server = storm.server.lock().unwrap();
        assert_eq!(server.paces().map(|(_, writes, _)| writes).collect::<BTreeSet<_>>(), [1].into());
        assert_eq!(server.writes, SERVERS + 2, "a virtual service's own entry has a manager of its own");
        server.forget_times();
    }

    for pass in 0..PASSES {
        (0..FLAPPING).for_each(|number| storm.down[number] ^= true);
        let failed = (FLAPPING + pass * FAIL)..(FLAPPING + pass * FAIL + FAIL).min(SERVERS);
        for number in (0..FLAPPING).chain(failed) {
            storm.down[number] |= number >= FLAPPING;
            storm.put(number);
        }
        storm.tell();
        sleep(PASS).await;
    }
    storm.rest().await;

    let server = storm.server.lock().unwrap();
    let is_quick = |pause: &Option<Duration>| pause.is_some_and(|pause| pause < Duration::from_secs(1));
    let quick: Vec<_> = server.paces().filter(|(_, _, pause)| is_quick(pause)).collect();
    assert_eq!(quick, []);
    let often = server.paces().filter(|(_, writes, _)| *writes > 1).count();
    assert!((1..=FLAPPING + 1).contains(&often), "{often}: what failed once is written once");
    drop(server);
    for number in 0..SERVERS {
        assert_eq!(storm.said_of(number), if storm.down[number] { "False" } else { "True" }, "rs{number}");
    }
}
