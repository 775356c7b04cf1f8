//! An API server that fails: not there for long, or there and wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lvs_lab::load::{self, Load};
use lvs_lab::topology::tutorial;

use crate::agent::{Agent, Seat};
use crate::proxy::Proxy;
use crate::stage::{Stage, TUTORIAL};

/// As many of each kind.
const MANY: u16 = 12;

fn many_objects() -> String {
    let mut objects = String::new();
    for number in 1..=MANY {
        objects += &format!(
            "apiVersion: lvs-operator.dev/v1alpha1\nkind: VirtualService\nmetadata: {{name: vs{number}}}\nspec:\n  \
             vip: 172.16.21.10\n  ports: [{{port: {}}}]\n  realServerSelector: {{matchLabels: {{app: web}}}}\n  \
             healthCheck: {{none: {{}}}}\n---\n\
             apiVersion: lvs-operator.dev/v1alpha1\nkind: RealServer\n\
             metadata: {{name: rs{number}, labels: {{app: web}}}}\nspec: {{address: 192.168.40.{}}}\n---\n",
            8000 + number,
            100 + number
        );
    }
    objects
}

/// An agent that reaches the API server through a proxy, and has put many objects in force.
fn behind_proxy() -> (Stage, Proxy, Seat, Agent) {
    let stage = Stage::new();
    let proxy = Proxy::new(&stage.kubectl);
    let seat = Seat::new(stage.director(), "director", &proxy.kubeconfig());
    let agent = seat.start_ready();
    stage.kubectl.apply(&many_objects());
    let all = usize::from(MANY) * usize::from(MANY + 1);
    stage.await_rules("everything is in force", |rules| rules.len() == all);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "vs1");
    (stage, proxy, seat, agent)
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_empty_list_removes_nothing_until_a_second_one_agrees() {
    let (stage, proxy, seat, agent) = behind_proxy();
    let before = stage.rules();
    // A list is asked for when a connection was lost.
    let list_again = || {
        seat.line.cut();
        agent.await_page("/readyz", "it noticed", |page| page.contains("does not answer"));
        seat.line.mend();
    };

    let many = usize::from(MANY);
    // With the rules that are left without the objects of that kind, and those that one of them makes.
    for (plural, kind, others, of_one) in
        [("virtualservices", "VirtualService", 0, 1 + many), ("realservers", "RealServer", many, many)]
    {
        println!("{kind}: one empty list");
        let (lists, writes) = (proxy.answered(plural), agent.metric("lvs_kernel_writes_total"));
        proxy.empty_next(plural, 1);
        list_again();
        let doubt = format!("list of {kind}s lacks {MANY} of the {MANY} in force: nothing is removed");
        agent.await_page("/readyz", "it doubts the empty list", |page| page.contains(&doubt));
        assert_eq!(stage.rules(), before);
        agent.await_ready();
        assert!(proxy.answered(plural) >= lists + 2, "a fresh list was asked for");
        assert_eq!((stage.rules(), agent.metric("lvs_kernel_writes_total")), (before.clone(), writes));

        println!("{kind}: two empty lists");
        let lists = proxy.answered(plural);
        proxy.empty_next(plural, 2);
        list_again();
        stage.await_rules("both lists agree, so it is gone", |rules| {
            let gone = *rules != before[..];
            assert!(!gone || proxy.answered(plural) >= lists + 2, "removed on one list: {rules:?}");
            // One whose status was just being written may be back: the watch says so, and that is true.
            [others, others + of_one].contains(&rules.len())
        });
        list_again();
        stage.await_rules("it was there all the time, and is in force again", |rules| *rules == before[..]);
        agent.await_ready();
    }
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_agent_that_starts_over_an_empty_list_keeps_what_is_in_force_until_a_second_one_agrees() {
    let (stage, proxy, seat, agent) = behind_proxy();
    let before = stage.rules();
    agent.kill();

    for plural in ["virtualservices", "realservers"] {
        proxy.empty_next(plural, 1);
    }
    let agent = seat.start();
    agent.await_page("/readyz", "it doubts the empty lists", |page| page.contains("nothing is removed"));
    assert_eq!(stage.rules(), before);
    agent.await_ready();
    assert_eq!((stage.rules(), agent.metric("lvs_kernel_writes_total")), (before, 0), "{}", agent.log());
    assert!(stage.holds_vip("director"));
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn while_the_api_server_is_gone_for_a_minute_every_request_is_answered_and_drift_repaired() {
    const AWAY: Duration = Duration::from_secs(60);
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    let agent = seat.start_ready();
    stage.kubectl.apply(TUTORIAL);
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    let before = stage.rules();

    let back = Arc::new(AtomicBool::new(false));
    let (client, enough) = (stage.network["client"].clone(), Arc::clone(&back));
    let requests = thread::spawn(move || {
        let target = format!("http://{}/", tutorial::VIP).parse().unwrap();
        let load = Load { target, rate: 20.0, count: 10_000, timeout: Duration::from_secs(20) };
        client.within(|| load::run_until(&load, || enough.load(Ordering::Relaxed))).unwrap().unwrap()
    });
    seat.line.cut();
    let start = Instant::now();
    agent.await_page("/readyz", "it says so", |page| page.contains("does not answer"));
    let mut repaired = 0;
    while start.elapsed() < AWAY {
        // A change that costs no request anything. (While a scheduler is exchanged the kernel has none, and refuses.)
        stage.director().exec("ipvsadm -e -t 172.16.21.10:80 -r 192.168.40.12 -g -w 9").unwrap();
        stage.await_rules("the weight is as declared again", |rules| *rules == before[..]);
        repaired += 1;
        thread::sleep(Duration::from_secs(5));
    }
    assert_eq!(agent.page("/healthz"), "ok\n");
    assert!(stage.holds_vip("director"));
    seat.line.mend();
    agent.await_ready();
    back.store(true, Ordering::Relaxed);
    let report = requests.join().unwrap();
    println!(
        "away for {} s: {repaired} changes undone, {} requests, {} answered, longest gap {} ms, failures: {:?}",
        start.elapsed().as_secs(),
        report.sent,
        report.answered(),
        report.longest_gap_ms,
        report.failures
    );
    assert!(report.sent >= 1200 && report.answered() == report.sent, "{report:?}");
    assert_eq!(stage.rules(), before);
    drop(agent);
    stage.end();
}

#[test]
#[ignore = "needs root, IPVS and an API server: cargo lab test"]
fn an_api_server_that_is_not_there_is_asked_less_and_less_often_and_heard_when_it_comes() {
    let stage = Stage::new();
    let seat = stage.seat("director", "director");
    stage.kubectl.apply(TUTORIAL);
    seat.line.cut();
    let agent = seat.start();
    agent.await_page("/readyz", "it says why it is not ready", |page| page.contains("does not answer"));
    let tries_within = |time: Duration| {
        let before = seat.line.turned_away();
        thread::sleep(time);
        seat.line.turned_away() - before
    };
    let span = Duration::from_secs(5);
    let (first, _, later) = (tries_within(span), tries_within(4 * span), tries_within(span));
    println!("tries in the first {span:?}: {first}, in {span:?} half a minute later: {later}");
    assert!(later > 0 && later < first, "first {first}, later {later}");
    assert_eq!(stage.rules(), Vec::<String>::new());
    seat.line.mend();
    agent.await_ready();
    stage.kubectl.await_ready("virtualservices.lvs-operator.dev", "web");
    drop(agent);
    stage.end();
}
