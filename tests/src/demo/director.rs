//! The controller on the Director.

use anyhow::{Result, bail};

use super::narration::typed;
use super::stage::{Background, Stage, eventually};

/// Where it tells what it counts.
pub(super) const METRICS: &str = "http://127.0.0.1:9472/metrics";
const LOG: &str = "/var/log/lvs-controller.log";

/// Starts it with objects from `source` (flags of `run`) and waits until it is ready.
pub(super) fn start(stage: &Stage, source: &str) -> Result<Background> {
    let command = format!("lvs-controller run --node-name director {source}");
    typed("director #", &format!("{command} &"));
    let controller = stage.start_on("director", &format!("{command} >> {LOG} 2>&1"));
    eventually(
        "the controller is ready",
        || {
            if controller.has_ended() {
                bail!("the controller has ended:\n{}", log(stage));
            }
            stage.try_on("director", "curl -sS http://127.0.0.1:9472/readyz").map(|(_, said)| said)
        },
        |said| said == "ok\n",
    )?;
    Ok(controller)
}

/// Stops it as systemd and the kubelet do.
pub(super) fn stop(stage: &Stage) -> Result<()> {
    stage.on("director", "kill $(pidof lvs-controller)")?;
    stage
        .eventually_on("director", "pidof lvs-controller", "the controller has ended", str::is_empty)
        .map(drop)
}

/// Waits until it has looked so often at what is in the kernel.
pub(super) fn await_passes(stage: &Stage, count: f64) -> Result<()> {
    let looked = |metrics: &str| metric(metrics, "lvs_passes_total") >= Some(count);
    stage
        .eventually_on("director", &format!("curl -sS {METRICS}"), "the controller has looked again", looked)
        .map(drop)
}

/// A number among its metrics.
pub(super) fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The end of what it logged.
pub(super) fn log(stage: &Stage) -> String {
    stage.quietly_on("director", &format!("tail -n 30 {LOG}")).unwrap_or_default()
}
