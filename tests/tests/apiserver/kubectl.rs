//! `kubectl`, the administrator's way in: a witness that shares no code with this project.

use std::time::Duration;

use lvs_lab::eventually::eventually;
use lvs_lab::guest::{Done, Job, on_host};
use serde_json::Value;

/// Longer than any `--timeout` that a test gives it.
const LIMIT: Duration = Duration::from_mins(2);

/// The administrator's kubectl. It runs on the host: under emulation it takes seconds to start.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    /// The one for the API server of this number and kubeconfig.
    pub(crate) fn new(number: usize, kubeconfig: &str) -> Self {
        Self { program: format!("kubectl-{number}"), kubeconfig: kubeconfig.to_owned() }
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

    /// `kubectl create` of so many objects: one request for each, of which it sends 50 a second at most.
    pub(crate) fn create(&self, yaml: &str, objects: u32) {
        let limit = LIMIT + Duration::from_secs(u64::from(objects) / 10);
        self.with_input_within("create -f -", yaml, limit);
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
            let done = self.done(&format!("get {kind} {name} -o json"), "", LIMIT);
            let object: Value = serde_json::from_slice(&done.output).map_err(|_| words(&done))?;
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
        self.with_input_within(arguments, input, LIMIT)
    }

    fn with_input_within(&self, arguments: &str, input: &str, limit: Duration) -> String {
        let done = self.done(arguments, input, limit);
        assert!(done.code == 0, "kubectl {arguments}: {}", words(&done));
        String::from_utf8_lossy(&done.output).into_owned()
    }

    fn done(&self, arguments: &str, input: &str, limit: Duration) -> Done {
        let command = [self.program.as_str()].into_iter().chain(arguments.split_whitespace());
        let folder = std::env::current_dir().ok();
        let job = Job { input: input.to_owned(), folder, ..Job::new(command) };
        on_host(&job, limit).unwrap()
    }
}

/// A variable that the lab sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: cargo lab test"))
}

/// A condition of an object; null if it is not there.
pub(crate) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default()
}

fn is_observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

fn words(done: &Done) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.output), String::from_utf8_lossy(&done.error))
}
