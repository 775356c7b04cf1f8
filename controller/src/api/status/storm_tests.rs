//! The writer before an API server in memory, on virtual time: how often it writes while ten thousand objects
//! change.
//!
//! The pace counts visits. One visit of a virtual service may write twice, back to back, as two field managers:
//! the Director's own entry of `directors`, and the part that all Directors share.

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

    /// The times of all writes of each object, whoever wrote.
    fn times(&self) -> impl Iterator<Item = (&str, Vec<Moment>)> {
        self.objects.iter().map(|(path, written)| {
            let mut times: Vec<_> = written.times.values().flatten().copied().collect();
            times.sort_unstable();
            (path.as_str(), times)
        })
    }

    /// The times of all writes of each object by each manager.
    fn times_by_manager(&self) -> impl Iterator<Item = (&str, Vec<Moment>)> {
        self.objects.values().flat_map(|written| {
            written.times.iter().map(|(manager, times)| (manager.as_str(), times.clone()))
        })
    }

    fn forget_times(&mut self) {
        self.objects.values_mut().for_each(|written| written.times.clear());
    }
}

/// Whether two of these times are less than a second apart.
fn are_quick(times: &[Moment]) -> bool {
    times.windows(2).any(|pair| pair[1] - pair[0] < Duration::from_secs(1))
}

/// The driver's side, and the server.
struct Storm {
    board: Board,
    server: Arc<Mutex<Server>>,
    down: Vec<bool>,
}

impl Storm {
    /// The writer runs, and all of so many servers and their virtual service is written.
    async fn start(servers: usize) -> Self {
        let board = Board::default();
        let me =
            Directors { me: "d1".to_owned(), ready: true, published: true, others: Some(BTreeMap::new()) };
        let (told, directors) = watch::channel(me);
        let (events, _) = events::queue(board.clone(), Outage::default());
        let server = Arc::new(Mutex::new(Server::default()));
        let (connected, connection) = watch::channel(Some(Server::connection(&server)));
        let mut writer =
            Writer::new(board.clone(), Statuses::default(), directors, events, Outage::default());
        tokio::spawn(async move {
            let _senders = (told, connected);
            writer.run(connection).await;
        });
        let storm = Self { board, server, down: vec![false; servers] };
        (0..servers).for_each(|number| storm.put(number));
        storm.tell(DirectorRole::Active);
        storm.rest().await;
        let mut server = storm.server.lock().expect("nobody panics");
        let often: BTreeSet<_> = server.times_by_manager().map(|(_, times)| times.len()).collect();
        assert_eq!(often, [1].into());
        assert_eq!(server.writes, servers + 2, "a virtual service's own entry has a manager of its own");
        server.forget_times();
        drop(server);
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
    fn tell(&self, role: DirectorRole) {
        let mut web = fixtures::virtual_service("web", Reason::Announced);
        web.verdict.director.as_mut().expect("it has one").role = role;
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

/// Whoever writes: where many fail no entry of `directors` changes, so that a visit writes once.
#[tokio::test(start_paused = true)]
async fn while_ten_thousand_servers_fail_and_some_flap_each_object_has_one_write_a_second_at_most() {
    let mut storm = Storm::start(SERVERS).await;

    for pass in 0..PASSES {
        (0..FLAPPING).for_each(|number| storm.down[number] ^= true);
        let failed = (FLAPPING + pass * FAIL)..(FLAPPING + pass * FAIL + FAIL).min(SERVERS);
        for number in (0..FLAPPING).chain(failed) {
            storm.down[number] |= number >= FLAPPING;
            storm.put(number);
        }
        storm.tell(DirectorRole::Active);
        sleep(PASS).await;
    }
    storm.rest().await;

    let server = storm.server.lock().unwrap();
    let quick: Vec<_> = server.times().filter(|(_, times)| are_quick(times)).collect();
    assert_eq!(quick, []);
    let often = server.times().filter(|(_, times)| times.len() > 1).count();
    assert!((1..=FLAPPING + 1).contains(&often), "{often}: what failed once is written once");
    drop(server);
    for number in 0..SERVERS {
        assert_eq!(storm.said_of(number), if storm.down[number] { "False" } else { "True" }, "rs{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directors_entry_and_the_shared_part_are_each_written_at_most_once_a_second() {
    let mut storm = Storm::start(1).await;

    for pass in 0..PASSES {
        storm.down[0] ^= true;
        storm.tell(if pass % 2 == 0 { DirectorRole::Standby } else { DirectorRole::Active });
        sleep(PASS).await;
    }
    storm.rest().await;

    let server = storm.server.lock().unwrap();
    let by_manager: Vec<_> = server.times_by_manager().collect();
    assert!(by_manager.len() == 2 && by_manager.iter().all(|(_, times)| times.len() > 1), "{by_manager:?}");
    let quick: Vec<_> = by_manager.iter().filter(|(_, times)| are_quick(times)).collect();
    assert!(quick.is_empty(), "{quick:?}");
    assert!(server.times().any(|(_, times)| are_quick(&times)), "one visit writes both");
}
