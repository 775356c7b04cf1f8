//! `kubectl`, the administrator's way in: a witness that shares no code with this project.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use lvs_lab::eventually::eventually;
use serde_json::Value;

/// The administrator's kubectl.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    pub(crate) fn new() -> Self {
        let variable =
            |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: cargo lab test"));
        Self { program: variable("LVS_LAB_KUBECTL"), kubeconfig: variable("LVS_LAB_KUBECONFIG") }
    }

    /// The kubeconfig's text.
    pub(crate) fn kubeconfig(&self) -> String {
        std::fs::read_to_string(&self.kubeconfig).unwrap()
    }

    /// Runs it. It has to succeed.
    pub(crate) fn run(&self, arguments: &str) -> String {
        self.with_input(arguments, "")
    }

    /// `kubectl apply` of these objects.
    pub(crate) fn apply(&self, yaml: &str) {
        self.with_input("apply -f -", yaml);
    }

    /// All objects of a kind, in all namespaces.
    pub(crate) fn list(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.run(&format!("get {kind} -A -o json"))).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// An object of the namespace `default`.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.run(&format!("get {kind} {name} -o json"))).unwrap()
    }

    /// Asks for an object until it is as wished.
    pub(crate) fn eventually(
        &self,
        kind: &str,
        name: &str,
        wish: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(wish, || {
            let output = self.output(&format!("get {kind} {name} -o json"), "");
            let object: Value = serde_json::from_slice(&output.stdout).map_err(|_| words(&output))?;
            if holds(&object) { Ok(object) } else { Err(object["status"].to_string()) }
        })
    }

    /// Waits until both kinds' objects have this condition.
    pub(crate) fn await_ready(&self, kind: &str, name: &str) -> Value {
        self.eventually(kind, name, &format!("{kind} {name} is ready"), |object| {
            condition(object, "Ready")["status"] == "True" && is_observed(object)
        })
    }

    fn with_input(&self, arguments: &str, input: &str) -> String {
        let output = self.output(arguments, input);
        assert!(output.status.success(), "kubectl {arguments}: {}", words(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn output(&self, arguments: &str, input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", std::env::temp_dir().join("lvs-lab-kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().expect("it is a pipe").write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

/// A condition of an object; null if it is not there.
pub(crate) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
}

fn is_observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
