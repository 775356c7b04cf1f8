//! Running test binaries, on the host and in a guest.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::build::cargo;
use super::outcome::Ending;
use super::stopwatch::Stopwatch;
use super::watch::watch;
use super::{Outcome, Selection, Suite};
use crate::apiserver::tethered;
use crate::guest::{Guest, Job, Late};
use crate::progress::Step;

/// Documentation's examples are compiled one by one.
const DOC_LIMIT: Duration = Duration::from_mins(30);

/// Variables that tests find: `LVS_LAB_CONTROLLER`, the controller's program; `LVS_LAB_KERNEL`, `LVS_LAB_MEMORY` and
/// `LVS_LAB_CPUS`, what a guest is to be made of that they boot; on the host `LVS_LAB_KUBECTL`, the program,
/// and `LVS_LAB_KUBECONFIG`, of an API server that all tests share; in the guest `LVS_LAB_KUBECONFIGS`, of API servers
/// that tests have one each, with `:` between them. The guest may have the host run `kubectl-0` for the first of these,
/// and so on.
pub type Environment = BTreeMap<String, String>;

/// How tests are run.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Variables for the tests.
    pub environment: Environment,
    /// How many tests of a suite run at the same time.
    pub threads: usize,
    /// How long a suite may take. Default: [`Selection::default_limit`].
    pub limit: Option<Duration>,
    /// Whether all that tests print is shown, not only the last line beside the step.
    pub verbose: bool,
}

/// The names of a suite's tests that match, in the order in which they would run. Without `only_ignored`, ignored ones
/// are among them.
pub(super) fn list(suite: &Suite, filter: Option<&str>, only_ignored: bool) -> Result<Vec<String>> {
    let output = Command::new(&suite.program)
        .args(["--list", "--format", "terse"])
        .args(only_ignored.then_some("--ignored"))
        .args(filter)
        .current_dir(&suite.folder)
        .output()
        .with_context(|| format!("cannot list the tests of {}", suite.label))?;
    ensure!(output.status.success(), "{} cannot list its tests", suite.label);
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

impl Selection {
    /// How long it may take: so long that only a hang, and no slow machine, takes longer.
    pub fn default_limit(&self, threads: usize) -> Duration {
        let rounds = self.tests.len().div_ceil(threads.max(1));
        self.place.preparation() + Duration::from_mins(2) * u32::try_from(rounds).unwrap_or(u32::MAX).min(20)
    }

    /// Runs it on this machine.
    pub fn run_on_host(&self, step: &Step, manner: &Manner) -> Result<Outcome> {
        let mut command = tethered(&self.suite.program, "KILL");
        command
            .args(self.arguments(manner.threads))
            .current_dir(&self.suite.folder)
            .env("CARGO_MANIFEST_DIR", &self.suite.folder)
            .envs(&manner.environment);
        self.run(step, manner, |limit, on_output| watch(command, limit, on_output))
    }

    /// Runs it in a guest.
    pub fn run_in_guest(&self, guest: &Guest, step: &Step, manner: &Manner) -> Result<Outcome> {
        let program = self.suite.program.display().to_string();
        let job = Job {
            folder: Some(self.suite.folder.clone()),
            environment: manner.environment.clone(),
            one_output: true,
            ..Job::new([program].into_iter().chain(self.arguments(manner.threads)))
        }
        .env("CARGO_MANIFEST_DIR", self.suite.folder.display().to_string());
        self.run(step, manner, |limit, on_output| {
            // An error is no reason to stop: the tests before it are of interest still.
            Ok(match guest.run(&job, limit, |_, bytes| on_output(bytes)) {
                Ok(code) => Ending::Exit(code),
                Err(error) if error.is::<Late>() => Ending::late(limit),
                Err(error) => Ending::Broken(format!("{error:#}")),
            })
        })
    }

    fn run(
        &self,
        step: &Step,
        manner: &Manner,
        run: impl FnOnce(Duration, &mut dyn FnMut(&[u8])) -> Result<Ending>,
    ) -> Result<Outcome> {
        let limit = manner.limit.unwrap_or_else(|| self.default_limit(manner.threads));
        let mut output = Vec::new();
        let mut stopwatch = Stopwatch::start();
        let ending = run(limit, &mut |bytes| {
            output.extend_from_slice(bytes);
            stopwatch.hear(bytes);
            step.show(bytes, manner.verbose);
        })?;
        let output = String::from_utf8_lossy(&output).into_owned();
        let times = stopwatch.read(&self.tests, manner.threads);
        let outcome = Outcome::read(output, &ending, Some(&self.tests), &times.running);
        Ok(Outcome { times: times.ended, ..outcome })
    }

    fn arguments(&self, threads: usize) -> Vec<String> {
        self.arguments.iter().cloned().chain([format!("--test-threads={threads}")]).collect()
    }
}

/// Runs the examples in the documentation of every library.
pub fn run_doc_tests(step: &Step, verbose: bool) -> Result<Outcome> {
    let mut command = tethered(cargo().get_program(), "KILL");
    command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    let mut output = Vec::new();
    let ending = watch(command, DOC_LIMIT, |bytes| {
        output.extend_from_slice(bytes);
        step.show(bytes, verbose);
    })?;
    Ok(Outcome::read(String::from_utf8_lossy(&output).into_owned(), &ending, None, &[]))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Place;
    use super::*;
    use crate::progress;

    /// Runs a shell script as if it were the binary of the tests `good` and `other`.
    fn run(script: &str, limit: Duration) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("suite");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let suite = Suite {
            label: "a/suite".to_owned(),
            target: "suite".to_owned(),
            program,
            folder: folder.path().to_owned(),
        };
        let tests = ["good", "other"].map(str::to_owned).to_vec();
        let selection = Selection { suite, place: Place::Host, tests, arguments: Vec::new() };
        let step = progress::step("a suite that is a script");
        let environment = [("WORD".to_owned(), "given".to_owned())].into();
        let manner = Manner { environment, threads: 2, limit: Some(limit), verbose: false };
        let outcome = selection.run_on_host(&step, &manner).unwrap();
        step.done();
        outcome
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_suite_that_ends_well_is_counted_and_timed() {
        let outcome = run(
            "[ $WORD = given ] || exit 1; echo 'running 2 tests'; echo 'test good ... ok'; echo 'test other ... ok'; \
             echo 'test result: ok. 2 passed; 0 failed; 0 ignored'",
            LONG,
        );
        assert_eq!((outcome.tally.passed, outcome.tally.failed, outcome.complaint), (2, 0, None));
        assert_eq!(outcome.times.len(), 2);
    }

    #[test]
    fn a_suite_that_hangs_is_killed_and_counts_what_it_did() {
        let outcome =
            run("echo 'running 2 tests'; echo 'test good ... ok'; sleep 600", Duration::from_millis(500));
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (1, 1));
        assert!(outcome.complaint.unwrap().ends_with("not ended: other"));
    }

    #[test]
    fn a_suite_that_aborts_has_failed() {
        let outcome = run("echo 'running 2 tests'; echo 'test good ... ok'; kill -ABRT $$", LONG);
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (1, 1));
        assert_eq!(outcome.complaint.unwrap(), "no result, exit code 134; not ended: other");
    }
}
