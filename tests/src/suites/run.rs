//! Running test binaries, on the host and in a guest.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::build::cargo;
use super::{Outcome, Selection, Suite};
use crate::guest::{Guest, Job};
use crate::progress::Step;

/// A suite that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(30);

/// Variables that tests find: `LVS_LAB_CONTROLLER` (the controller's program), and where there is an API server,
/// `LVS_LAB_KUBECONFIG` (good from where the test runs) and `LVS_LAB_KUBECTL` (the program).
pub type Environment = BTreeMap<String, String>;

/// How many tests of a suite match. Without `only_ignored`, ignored ones count too.
pub(super) fn list(suite: &Suite, filter: Option<&str>, only_ignored: bool) -> Result<usize> {
    let output = Command::new(&suite.program)
        .args(["--list", "--format", "terse"])
        .args(only_ignored.then_some("--ignored"))
        .args(filter)
        .current_dir(&suite.folder)
        .output()
        .with_context(|| format!("cannot list the tests of {}", suite.label))?;
    ensure!(output.status.success(), "{} cannot list its tests", suite.label);
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(": test")).count())
}

impl Selection {
    /// Runs it on this machine. Its last line is shown beside the step.
    pub fn run_on_host(&self, step: &Step, environment: &Environment, verbose: bool) -> Result<Outcome> {
        let mut command = Command::new(&self.suite.program);
        command
            .args(&self.arguments)
            .current_dir(&self.suite.folder)
            .env("CARGO_MANIFEST_DIR", &self.suite.folder)
            .envs(environment);
        step.watch(&mut command, verbose).map(|(output, code)| Outcome::read(output, code))
    }

    /// Runs it in a guest.
    pub fn run_in_guest(
        &self,
        guest: &Guest,
        step: &Step,
        environment: &Environment,
        verbose: bool,
    ) -> Result<Outcome> {
        let program = self.suite.program.display().to_string();
        let job = Job {
            folder: Some(self.suite.folder.clone()),
            environment: environment.clone(),
            one_output: true,
            ..Job::new([program].into_iter().chain(self.arguments.iter().cloned()))
        }
        .env("CARGO_MANIFEST_DIR", self.suite.folder.display().to_string());
        let mut output = Vec::new();
        let result = guest.run(&job, LIMIT, |_, bytes| {
            output.extend_from_slice(bytes);
            step.show(bytes, verbose);
        });
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(match result {
            Ok(code) => Outcome::read(output, code),
            // Time ran out, or the kernel crashed: the tests before that are of interest still.
            Err(error) => Outcome::read(format!("{output}\n{error:#}\n"), 1),
        })
    }
}

/// Runs the examples in the documentation of every library.
pub fn run_doc_tests(step: &Step, verbose: bool) -> Result<Outcome> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    step.watch(&mut command, verbose).map(|(output, code)| Outcome::read(output, code))
}
