//! The status page of an agent with real servers, as a real browser shows it: what a person sees, in which
//! colours, and how soon. One guest and one tab carry all of it, one step after the other.
//!
//! `LVS_LAB_SCREENSHOT=docs/status-page.png cargo lab test lvs-lab/page` makes the documentation's picture.

// clippy.toml lets tests unwrap, which covers the test functions and not what they call.
#![allow(clippy::unwrap_used)]

mod complaints;
mod lab;
mod seen;

use std::time::{Duration, Instant};

use lvs_lab::browser::Scheme;
use lvs_lab::controller::checkout;
use lvs_lab::eventually::{eventually, eventually_is};
use lvs_lab::objects::{manifest, real_server, selects, virtual_service};
use lvs_lab::topology::tutorial::VIP;
use serde_json::{Value, json};

use lab::Lab;
use seen::{Hue, Server, brightness};

/// From one check of a real server to the next. One failure, and it is out.
const INTERVAL: Duration = Duration::from_secs(4);
/// How long a check may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The agent tells the page how things are each second.
const PERIOD: Duration = Duration::from_secs(1);
/// Snapshots that may be old after a verdict: one that had been begun before it, and one that the driver is
/// too busy to answer for.
const OLD: usize = 2;

/// Two services: `web` on four real servers, `api` on two of them. rs4 drains or does not.
fn objects(rs4_drains: bool) -> String {
    let check = json!({
        "http": {}, "fall": 1, "rise": 1,
        "intervalSeconds": INTERVAL.as_secs(), "timeoutSeconds": TIMEOUT.as_secs(),
    });
    let service = |name: &str, port: u16, scheduler: &str, selector: Value| {
        let spec = json!({
            "vip": VIP, "ports": [{"port": port}], "scheduler": scheduler, "realServerSelector": selector,
            "healthCheck": check, "drainTimeoutSeconds": 600,
        });
        virtual_service(name, &spec)
    };
    let api = json!({"matchLabels": {"app": "web", "api": "yes"}});
    let mut objects = vec![service("web", 80, "wrr", selects("web")), service("api", 8080, "wlc", api)];
    for (number, weight) in [(1, 2), (2, 1), (3, 1), (4, 1)] {
        let mut spec = json!({"address": format!("192.168.40.{}", 11 + number), "weight": weight});
        if number == 4 && rs4_drains {
            spec["drain"] = true.into();
        }
        let mut server = real_server(&format!("rs{number}"), "web", &spec);
        if number < 3 {
            server["metadata"]["labels"]["api"] = "yes".into();
        }
        objects.push(server);
    }
    manifest(&objects)
}

#[test]
#[ignore = "needs QEMU and Chromium: cargo lab test"]
fn a_real_browser_shows_what_a_real_agent_does() {
    let mut lab = Lab::start(&objects(false));
    let clients = ask_web(&lab);
    lab.start_on("far-client", &format!("lab guest-client --rate 5 --count 100000 http://{VIP}:8080/"));
    let origin = lab.origin();
    lab.browser.prefer(Scheme::Light).unwrap();
    lab.browser.open(&origin).unwrap();
    let opened = Instant::now();

    everything_is_there_and_true(&mut lab);
    a_server_that_fails_turns_red_in_time(&mut lab);
    a_drain_shows_how_many_connections_are_left(&mut lab, &clients, opened);
    a_server_that_returns_turns_green(&mut lab);
    a_dark_page_is_dark_and_a_light_one_light(&mut lab);
    nothing_is_wrong_on_the_console_and_no_other_host_is_asked(&mut lab);
    an_agent_that_dies_is_told_of(&mut lab);
    lab.finish();
}

/// Clients of the service `web`.
fn ask_web(lab: &Lab) -> String {
    lab.start_on("client", &format!("lab guest-client --rate 12 --count 100000 http://{VIP}/"))
}

fn everything_is_there_and_true(lab: &mut Lab) {
    lab.await_seen("both services are served", |seen| {
        let is_served = |name: &str| {
            // Checks may succeed before the network was asked for the VIP.
            let service =
                seen.service(name).filter(|service| service.words.contains("this Director answers"))?;
            let rows: Vec<_> = service.servers.iter().map(Server::at_a_glance).collect();
            rows.iter().all(|row| *row == ("InService", "Healthy", Hue::Green)).then_some(rows.len())
        };
        (is_served("web") == Some(4) && is_served("api") == Some(2)).then_some(())
    });
    let seen = lab.look();
    assert_eq!((seen.node.as_str(), seen.ready.as_str(), seen.stale.as_str()), ("d1", "ready", ""));
    assert_eq!(seen.services.len(), 2, "{seen:#?}");
    let web = seen.service("web").unwrap();
    for words in [VIP, "80/TCP", "wrr", "this Director answers", "4 real servers: 4 in service, 4 healthy"] {
        assert!(web.words.contains(words), "{words} is not in: {}", web.words);
    }
    for words in ["accepted", "programmed in the kernel", "VIP announced", "real servers ready"] {
        assert!(web.conditions.iter().any(|said| said.starts_with(words)), "{words}: {:?}", web.conditions);
    }
    // What the kernel has, and what was declared.
    let table = lab.sh("ip netns exec director ipvsadm -Ln");
    for (name, address, weight) in [
        ("rs1", "192.168.40.12", 2),
        ("rs2", "192.168.40.13", 1),
        ("rs3", "192.168.40.14", 1),
        ("rs4", "192.168.40.15", 1),
    ] {
        let row = web.server(name).unwrap();
        let said = format!("weight {weight}, same in the kernel");
        assert!(row.words.contains(address) && row.words.contains(&said), "{row:#?}");
        let line = table.lines().find(|line| line.contains(&format!("{address}:80 "))).unwrap_or_default();
        let in_kernel = line.split_whitespace().nth(3);
        assert_eq!(in_kernel, Some(weight.to_string().as_str()), "{name}: {table}");
    }
    lab.await_row("rs1", "has a rate and a line of it", |row| {
        let has_rate = row.words.contains("/s") && !row.words.contains(" 0/s");
        (has_rate && row.line.contains('L')).then_some(())
    });
}

/// All times that are compared are of the guest's clock: how fast this machine looks does not matter.
fn a_server_that_fails_turns_red_in_time(lab: &mut Lab) {
    lab.note_snapshots();
    let before = lab.verdicts("rs3").len();
    let started = Instant::now();
    let killed: u64 = lab.sh("kill $(cat /run/rs3-80.pid); date +%s%3N").trim().parse().unwrap();
    lab.await_row("rs3", "is red", |row| row.is_red().then_some(()));
    println!("rs3: red on this machine after {:.1} s", started.elapsed().as_secs_f64());
    let verdict = eventually("the agent's log tells that rs3 fails", || {
        lab.verdicts("rs3").get(before).copied().ok_or_else(String::new)
    });
    let mut noted = lab.noted();
    let red = noted.iter().position(|noted| noted.is_red("rs3")).unwrap();
    noted.truncate(red);

    let since = |from: u64, to: u64| Duration::from_millis(to.saturating_sub(from));
    // A guest that gets no processor is late with everything.
    let gaps = noted.windows(2).map(|pair| since(pair[0].at, pair[1].at).saturating_sub(PERIOD));
    let late = gaps.max().unwrap_or_default();
    let (took, limit) = (since(killed, verdict), INTERVAL + TIMEOUT + late);
    let old = noted.iter().filter(|noted| noted.at > verdict).count();
    println!("rs3: a verdict after {took:?} of {limit:?}, then {old} snapshots until it was red");
    assert!(took <= limit, "a verdict after {took:?}, more than {limit:?}");
    assert!(old <= OLD, "{old} snapshots after the verdict were not red");

    // A check that was under way may have ended in other words.
    lab.await_row("rs3", "says why, and has weight 0", |row| {
        let says = "connection refused by 192.168.40.14:80";
        (row.is_red() && row.words.contains(says) && row.words.contains("in the kernel 0")).then_some(())
    });
}

fn a_drain_shows_how_many_connections_are_left(lab: &mut Lab, clients: &str, opened: Instant) {
    lab.sh(&format!("cat > /run/hold.sh <<'END'\n{}END", include_str!("hold.sh")));
    let hold = |lab: &Lab, count: u32, name: &str| {
        let holder = lab.start_on("client", &format!("bash /run/hold.sh {count} /run/held-{name}"));
        lab.sh(&format!("timeout 60 sh -c 'until [ -e /run/held-{name} ]; do sleep 0.1; done'"));
        holder
    };
    // While nobody else asks, wrr gives of each four connections two to rs1 and one each to rs2 and rs4.
    lab.stop(clients);
    let first = hold(lab, 12, "first");
    let second = hold(lab, 12, "second");
    let on_rs4 = "ip netns exec director ipvsadm -Lnc | grep -c 'ESTABLISHED .*192.168.40.15:80' || true";
    eventually_is("connections to rs4", &"6".to_owned(), || lab.sh(on_rs4).trim().to_owned());
    lab.declare(&objects(true));
    lab.await_row("rs4", "drains", |row| {
        let is_drain = row.state == "Draining" && row.words.contains("in the kernel 0");
        (is_drain && row.left() == Some((6, 6))).then_some(())
    });
    // rs4 gets none of these.
    ask_web(lab);
    lab.stop(&first);
    lab.await_row("rs4", "has half of its connections left", |row| {
        (row.left() == Some((3, 6))).then_some(())
    });
    if let Some(path) = std::env::var_os("LVS_LAB_SCREENSHOT") {
        // Until the lines of the rates are a minute long.
        std::thread::sleep(Duration::from_secs(62).saturating_sub(opened.elapsed()));
        std::fs::write(checkout().join(path), lab.browser.screenshot().unwrap()).unwrap();
    }
    lab.stop(&second);
    lab.await_row("rs4", "is drained", |row| {
        (row.state == "Drained" && row.left().is_none_or(|(left, _)| left == 0)).then_some(())
    });
    lab.declare(&objects(false));
}

fn a_server_that_returns_turns_green(lab: &mut Lab) {
    lab.start_on("rs3", "lab guest-web rs3");
    for name in ["rs3", "rs4"] {
        lab.await_row(name, "is green again", |row| {
            let green = row.at_a_glance() == ("InService", "Healthy", Hue::Green);
            (green && row.drain.is_empty() && row.words.contains("same in the kernel")).then_some(())
        });
    }
}

fn a_dark_page_is_dark_and_a_light_one_light(lab: &mut Lab) {
    let light = lab.look();
    lab.browser.prefer(Scheme::Dark).unwrap();
    let dark = lab.look();
    assert!(brightness(&light.background) > 600, "{}", light.background);
    assert!(brightness(&dark.background) < 150, "{}", dark.background);
    let row = dark.service("web").unwrap().server("rs1").unwrap();
    assert_eq!(row.at_a_glance(), ("InService", "Healthy", Hue::Green), "{row:#?}");
}

fn nothing_is_wrong_on_the_console_and_no_other_host_is_asked(lab: &mut Lab) {
    let origin = lab.origin();
    let heard = lab.browser.heard().unwrap();
    assert_eq!(heard.complaints, [""; 0]);
    assert!(heard.requests.contains(&format!("{origin}events")), "{:?}", heard.requests);
    let is_own = |url: &&String| url.starts_with(&origin) || url.starts_with("data:");
    let others: Vec<_> = heard.requests.iter().filter(|url| !is_own(url)).collect();
    assert_eq!(others, [""; 0]);
}

/// The last step: from here on Chromium complains, and rightly.
fn an_agent_that_dies_is_told_of(lab: &mut Lab) {
    lab.sh("kill -9 $(cat /run/agent.pid)");
    lab.await_seen("the page says that it is old", |seen| {
        seen.stale.starts_with("No news from the agent").then_some(())
    });
}
