//! A real server that stops and comes back: what clients notice of it, and for how long.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::narration::{check, say};
use super::requests::{self, RATE, Steady};
use super::stage::Stage;
use super::tutorial;
use crate::load::Failure;

/// The health check of the demo: as fast as one can be declared, and two results in a row.
pub(super) const FAST: &str = "{tcp: {}, intervalSeconds: 1, fall: 2, rise: 2}";
/// The same as a patch.
pub(super) const FAST_PATCH: &str =
    r#"{"spec":{"healthCheck":{"tcp":{},"intervalSeconds":1,"fall":2,"rise":2}}}"#;
/// Long enough for some dozens of requests to be seen.
pub(super) const A_WHILE: Duration = Duration::from_secs(2);

/// Kills the web server of rs1 while a client asks, and brings it back.
pub(super) fn stops_and_returns(stage: &Stage) -> Result<()> {
    say(
        "The kernel keeps an ended connection for two minutes, and sends a new one from the same port to the same\n\
         real server, whatever its weight is now. The agent would turn that off; beside somebody else's service it\n\
         names the command instead (`lvs-controller run` logs it, `kubectl describe directors` shows it):",
    );
    stage.on(
        "director",
        "sysctl -w net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1",
    )?;
    let client = Steady::start(stage, "client");
    say(&format!("A client asks {RATE} times a second, all the time. Then rs1's web server is killed:"));
    thread::sleep(A_WHILE);
    let server = stage.quietly_on("rs1", "ss -Hltnp 'sport = :80' | sed 's/.*pid=\\([0-9]*\\).*/\\1/'")?;
    stage.on("rs1", &format!("kill {}", server.trim()))?;
    let stopped = Instant::now();
    stage.eventually_on("director", "ipvsadm -Ln", "the weights are 0 and 1", |table| {
        tutorial::weights(table) == [0, 1]
    })?;
    let noticed = stopped.elapsed();
    let table = stage.on("director", "ipvsadm -Ln")?;
    let is_quiet = tutorial::weights(&table) == [0, 1] && table.contains(tutorial::REAL_SERVERS[0]);
    check(is_quiet, "rs1 has the weight 0: nobody new is sent there, and connections may end", &table)?;
    let answers = requests::ask(stage, "client", 6)?;
    check(answers.servers == [1; 6], "rs2 answers every request", &answers.pages)?;
    let said = stage.on("director", "lvs-controller status")?;
    check(said.contains("connection refused by"), "the agent says what is wrong with rs1", &said)?;

    say("\nIt comes back:");
    stage.on("rs1", "setsid lab guest-web rs1 > /dev/null 2>&1 < /dev/null &")?;
    stage.eventually_on("director", "ipvsadm -Ln", "the weights are 1 and 1", |table| {
        tutorial::weights(table) == [1, 1]
    })?;
    thread::sleep(A_WHILE);
    let report = client.report()?;
    let told = requests::told(&report);
    say(&told);
    say(&format!(
        "From the kill to weight 0 it took {:.1} s; requests failed for {:.1} s.",
        noticed.as_secs_f64(),
        failing_for(&report.failures).as_secs_f64()
    ));
    // Looking takes a moment, and so does a request.
    let until = noticed + Duration::from_secs(1);
    check(failing_for(&report.failures) <= until, "no request failed once the weight was 0", &told)?;
    let answers = requests::ask(stage, "client", 6)?;
    let take_turns = answers.servers.len() == 6 && answers.alternate();
    check(take_turns, "the real servers take turns again", &answers.pages)
}

/// The time in which requests failed, from the start of the first to that of the last.
fn failing_for(failures: &[Failure]) -> Duration {
    let at = |failure: Option<&Failure>| failure.map_or(0, |failure| failure.at_ms);
    Duration::from_millis(at(failures.last()) - at(failures.first()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fail_from_the_first_to_the_last_that_did() {
        let failure = |at_ms| Failure { at_ms, reason: String::new() };
        assert_eq!(failing_for(&[]), Duration::ZERO);
        assert_eq!(failing_for(&[failure(70), failure(110), failure(1250)]), Duration::from_millis(1180));
    }
}
