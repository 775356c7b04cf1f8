//! Act three: what somebody does who installs the operator, and what must be seen then.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::network::{CLIENT, VIP};
use super::stage::{DAEMON_SET, NAMESPACE, Stage, eventually};
use super::traffic::{Stream, ask};
use super::{Cluster, Passed, Report, rights};
use crate::demo::narration::{check, say, shown, typed};
use crate::progress::{elapsed, line};

const RELEASE: &str = "lvs-operator";
// From the checkout, where all commands run.
const CHART: &str = "charts/lvs-operator";
const OBJECTS: &str = "tests/cluster/objects.yaml";
/// A service that somebody else made on the Director: nothing here may touch it.
const FOREIGN: &str = "203.0.113.9:443";

/// Rights that are needed and do not show in the log: an apply that makes a Lease needs `create` and is logged as
/// `patch`; an event is patched only when it comes again soon, which nothing here brings about.
const NOT_SEEN: [&str; 2] = ["create leases.coordination.k8s.io", "patch events.events.k8s.io"];

/// Plays all steps, in order; the first that fails ends the act.
pub fn play(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let stage = Stage::new(cluster);
    for (number, (title, step)) in steps().into_iter().enumerate() {
        let began = Instant::now();
        line(&format!("\n{}. {title}", number + 1));
        if let Err(error) = step(&stage) {
            report.failed = Some(title.to_owned());
            stage.say_what_is_going_on();
            return Err(error.context(title));
        }
        line(&format!("   ({})", elapsed(began.elapsed())));
        report.passed.push(Passed { title: title.to_owned(), seconds: began.elapsed().as_secs_f64() });
    }
    Ok(())
}

type Step<'a> = fn(&Stage<'a>) -> Result<()>;

fn steps<'a>() -> [(&'static str, Step<'a>); 10] {
    [
        ("Two real nodes are ready, and one is made a Director", Stage::nodes),
        ("helm install", Stage::install),
        ("kubectl apply makes a virtual service", Stage::apply),
        ("Requests through the VIP are balanced by IPVS", Stage::requests),
        ("A second Director takes no VIP", Stage::second_director),
        ("helm upgrade changes no rule and costs no request", Stage::upgrade),
        ("A node that is no Director any more is left clean", Stage::second_leaves),
        ("kubectl delete takes rules and VIP away, and nothing else", Stage::delete),
        ("The agent asks for what its roles grant, and for nothing else", Stage::rights),
        ("helm uninstall leaves the nodes clean and keeps what was declared", Stage::uninstall),
    ]
}

/// The steps.
impl Stage<'_> {
    fn nodes(&self) -> Result<()> {
        self.kubectl("get nodes --output wide")?;
        let foreign = format!("ipvsadm -A -t {FOREIGN} -s rr && ipvsadm -a -t {FOREIGN} -r 10.89.0.1 -g");
        self.director.run(&foreign)?;
        say(&format!("Somebody else's IPVS service is there already: {FOREIGN}."));
        self.kubectl(&format!("label node {} lvs-operator.dev/director=true", self.director.name()))?;
        Ok(())
    }

    fn install(&self) -> Result<()> {
        self.helm(&format!("install {RELEASE} {CHART} --namespace {NAMESPACE} --create-namespace --wait"))?;
        let pods = self.kubectl(&format!("get pods --namespace {NAMESPACE} --output wide"))?;
        let running = pods.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count();
        check(running == 1, "one agent runs, on the labelled node, and is ready", &pods)
    }

    fn apply(&self) -> Result<()> {
        self.kubectl(&format!("apply --filename {OBJECTS}"))?;
        self.kubectl("wait --for=condition=Ready virtualservices.lvs-operator.dev/web --timeout=240s")?;
        self.kubectl("get virtualservices.lvs-operator.dev,realservers.lvs-operator.dev")?;
        let table = self.director.run("ipvsadm -Ln")?;
        typed(&self.director.name().to_string(), "ipvsadm -Ln");
        shown(&table);
        let routes =
            table.lines().filter(|line| line.contains("10.89.0.2") && line.contains("Route")).count();
        check(routes == 2, "the kernel has both real servers, by direct routing", &table)?;
        let holders = self.holders()?;
        check(holders == [self.director.name()], "the Director holds the VIP", &format!("{holders:?}"))
    }

    fn requests(&self) -> Result<()> {
        const REQUESTS: u32 = 20;
        let before = self.connections()?;
        typed(CLIENT.0, &format!("curl http://{VIP}/      # {REQUESTS} times"));
        let answers = ask(&self.cluster.network.client, REQUESTS)?;
        let seen = format!("{answers:?}");
        for (server, count) in &answers.answers {
            shown(&format!("{server} answered {count}"));
        }
        check(answers.answered() == REQUESTS, "all were answered", &seen)?;
        check(
            answers.answers.values().all(|count| *count == REQUESTS / 2),
            "each real server answered half",
            &seen,
        )?;
        let client = CLIENT.1.to_string();
        check(
            answers.seen_as.keys().eq([&client]),
            &format!("they saw the client's own address, {client}"),
            &seen,
        )?;
        // The kernel adds up the counters of its processors every two seconds.
        let counted = eventually("the counters of IPVS to settle", || {
            let after = self.connections()?;
            let counted: u64 =
                after.iter().map(|(server, count)| count - before.get(server).unwrap_or(&0)).sum();
            Ok((counted >= u64::from(REQUESTS)).then_some(counted))
        });
        check(
            counted.as_ref().is_ok_and(|counted| *counted == u64::from(REQUESTS)),
            "IPVS on the Director counted every one of them: no kube-proxy in between",
            &format!("{counted:?}; before {before:?}"),
        )
    }

    fn second_director(&self) -> Result<()> {
        self.kubectl(&format!("label node {} lvs-operator.dev/director=true", self.second.name()))?;
        self.kubectl(&format!(
            "rollout status daemonset/{DAEMON_SET} --namespace {NAMESPACE} --timeout=240s"
        ))?;
        eventually("the second Director to say that it stands by", || {
            let role = format!(r#"jsonpath={{.status.directors[?(@.name=="{}")].role}}"#, self.second.name());
            let role = self.quietly(&format!("get virtualservices.lvs-operator.dev/web --output {role}"))?;
            Ok((role == "Standby").then_some(()))
        })?;
        let status = self.quietly("get virtualservices.lvs-operator.dev/web --output json")?;
        let status: serde_json::Value = serde_json::from_str(&status).context("a VirtualService is JSON")?;
        say("In the status of the VirtualService:");
        shown(&serde_json::to_string_pretty(&status["status"]["directors"])?);
        eventually("the event that says why", || {
            let events = self.quietly("get events.events.k8s.io --field-selector reason=PeerWithoutVRRP")?;
            Ok(events.contains("PeerWithoutVRRP").then_some(()))
        })?;
        let events = self.kubectl("get events.events.k8s.io --field-selector reason=PeerWithoutVRRP")?;
        check(events.contains("virtualservice/web"), "it says PeerWithoutVRRP", &events)?;
        let holders = self.holders()?;
        check(
            holders == [self.director.name()],
            "only the first Director holds the VIP",
            &format!("{holders:?}"),
        )?;
        let answers = ask(&self.cluster.network.client, 10)?;
        check(answers.answered() == 10, "requests go on", &format!("{answers:?}"))?;
        let neighbour = self.cluster.network.client.exec(&format!("ip neighbour show {VIP}"))?;
        let mac = self.director.name().mac();
        check(
            neighbour.contains(&mac),
            "the client's neighbour table leads to the first Director",
            &neighbour,
        )
    }

    fn upgrade(&self) -> Result<()> {
        let (before, counted_before) = (self.rules()?, self.connections()?);
        let stream = Stream::start(&self.cluster.network.client);
        let set = "--set director.resyncSeconds=20";
        let upgraded = self.helm(&format!("upgrade {RELEASE} {CHART} --namespace {NAMESPACE} {set} --wait"));
        let count = stream.stop()?;
        upgraded?;
        let pods = self.quietly(&format!("get pods --namespace {NAMESPACE} --output yaml"))?;
        check(pods.matches("--resync-seconds=20").count() >= 2, "both agents are new ones", &pods)?;
        check(
            count.failures.is_empty() && count.sent > 0,
            &format!("{} requests meanwhile, none failed", count.sent),
            &format!("{count:?}"),
        )?;
        let after = self.rules()?;
        check(
            before == after,
            "the table of the kernel is what it was",
            &format!("{before}\nbecame\n{after}"),
        )?;
        let counted = self.connections()?;
        check(
            counted.keys().eq(counted_before.keys())
                && counted.iter().all(|(server, count)| count > &counted_before[server]),
            "its counters went on: nothing was taken away and added again",
            &format!("{counted_before:?} became {counted:?}"),
        )?;
        let holders = self.holders()?;
        check(holders == [self.director.name()], "the VIP is where it was", &format!("{holders:?}"))
    }

    fn second_leaves(&self) -> Result<()> {
        self.kubectl(&format!("label node {} lvs-operator.dev/director-", self.second.name()))?;
        let name = self.second.name().to_string();
        eventually("the second agent to end", || {
            let pods = self.quietly(&format!("get pods --namespace {NAMESPACE} --output wide"))?;
            Ok((!pods.contains(&format!(" {name} "))).then_some(()))
        })?;
        let rules = self.second.run("ipvsadm -Sn")?;
        check(rules.trim().is_empty(), "its kernel holds no rule", &rules)?;
        let leases = self.kubectl(&format!("get leases --namespace {NAMESPACE}"))?;
        check(!leases.contains(&format!("-{name} ")), "its Lease is gone", &leases)?;
        eventually("its entry in the status to go", || {
            let status = self.quietly(
                "get virtualservices.lvs-operator.dev/web --output jsonpath={.status.directors[*].name}",
            )?;
            Ok((status == self.director.name().to_string()).then_some(()))
        })
    }

    fn rights(&self) -> Result<()> {
        let mut granted = BTreeSet::new();
        for role in ["clusterrole".to_owned(), format!("--namespace {NAMESPACE} role")] {
            let role = self.quietly(&format!("get {role} {DAEMON_SET} --output json"))?;
            granted.extend(rights::granted(&serde_json::from_str(&role).context("a role is JSON")?));
        }
        let used = self.cluster.plane.used_rights()?;
        say(&format!("The API server's audit log has {} kinds of requests by agents:", used.granted.len()));
        shown(&rights::listed(&used.granted));
        check(used.denied.is_empty(), "none was refused", &rights::listed(&used.denied))?;
        let unused = rights::listed(granted.difference(&used.granted));
        check(
            unused.lines().all(|right| NOT_SEEN.contains(&right)),
            "every right that the roles grant was used",
            &unused,
        )
    }

    fn delete(&self) -> Result<()> {
        self.kubectl(&format!("delete --filename {OBJECTS}"))?;
        eventually("rules and VIP to go", || {
            let rules = self.rules()?;
            Ok((!rules.contains(&VIP.to_string()) && self.holders()?.is_empty()).then_some(()))
        })?;
        let rules = self.rules()?;
        typed(&self.director.name().to_string(), "ipvsadm -Sn");
        shown(&rules);
        check(
            rules.contains(FOREIGN) && rules.lines().count() == 2,
            "the foreign service is all there is",
            &rules,
        )
    }

    fn uninstall(&self) -> Result<()> {
        say("Once more with the virtual service in force:");
        self.kubectl(&format!("apply --filename {OBJECTS}"))?;
        self.kubectl("wait --for=condition=Ready virtualservices.lvs-operator.dev/web --timeout=240s")?;
        // Foreground: in the default order the DaemonSet is gone while its pods still end.
        self.helm(&format!("uninstall {RELEASE} --namespace {NAMESPACE} --cascade foreground --wait"))?;
        // Helm has been seen to come back while the last pod still ends.
        eventually("the last agent to end", || {
            let pods = self.quietly(&format!("get pods --namespace {NAMESPACE} --output name"))?;
            Ok(pods.trim().is_empty().then_some(()))
        })?;
        let rules = self.rules()?;
        check(
            rules.contains(FOREIGN) && rules.lines().count() == 2,
            "the kernel holds the foreign service and nothing else",
            &rules,
        )?;
        let holders = self.holders()?;
        check(holders.is_empty(), "nobody holds the VIP", &format!("{holders:?}"))?;
        let objects =
            self.kubectl("get virtualservices.lvs-operator.dev,realservers.lvs-operator.dev --output name")?;
        check(
            objects.lines().count() == 3,
            "what was declared is still there, for the next install",
            &objects,
        )
    }
}
