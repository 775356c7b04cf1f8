//! kubectl, with a namespace for each test.

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The folder of the definitions.
pub(crate) const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml");

/// kubectl in one namespace.
pub(crate) struct Kubectl {
    program: OsString,
    kubeconfig: OsString,
    namespace: String,
}

impl Kubectl {
    /// For a test of that name; the definitions are in force.
    pub(crate) fn with_definitions(test: &str) -> Self {
        static APPLIED: OnceLock<()> = OnceLock::new();
        APPLIED.get_or_init(|| {
            let kubectl = Self::of("default".to_owned());
            kubectl.succeeds(&["apply", "--server-side", "-f", DEFINITIONS]);
            kubectl.succeeds(&["wait", "--for=condition=Established", "--timeout=60s", "-f", DEFINITIONS]);
        });
        // Several runs may share an API server.
        let kubectl = Self::of(format!("{test}-{}", std::process::id()));
        kubectl.succeeds(&["create", "namespace", &kubectl.namespace]);
        kubectl
    }

    fn of(namespace: String) -> Self {
        let variable =
            |name| env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run `cargo lab test`"));
        Self { program: variable("LVS_LAB_KUBECTL"), kubeconfig: variable("LVS_LAB_KUBECONFIG"), namespace }
    }

    /// Runs it and returns what came of it.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs it and returns what it printed.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        self.succeeds_with(arguments, "")
    }

    /// Runs it with this on its standard input and returns what it printed.
    pub(crate) fn succeeds_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {errors}", arguments.join(" "));
        text(&output.stdout)
    }

    /// The API server's verdict on an object, which is not kept. A warning is a refusal.
    pub(crate) fn verdict(&self, object: &serde_json::Value) -> Result<(), String> {
        let output =
            self.run(&["create", "--dry-run=server", "--warnings-as-errors", "-f", "-"], &object.to_string());
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        self.run(&["delete", "namespace", &self.namespace, "--wait=false"], "");
    }
}

/// What a program wrote.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names in the definitions' folder.
pub(crate) fn definitions() -> Vec<String> {
    let mut names: Vec<String> = Path::new(DEFINITIONS)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".yaml").to_owned())
        .collect();
    names.sort();
    names
}
