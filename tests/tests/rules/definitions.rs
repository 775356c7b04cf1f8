//! The definitions themselves.

use serde_json::Value;

use super::kubectl::{DEFINITIONS, Kubectl, definitions, text};

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn an_api_server_accepts_the_definitions_without_a_warning() {
    let kubectl = Kubectl::with_definitions("definitions");
    for way in ["--server-side", "--server-side=false"] {
        let output =
            kubectl.run(&["apply", way, "--dry-run=server", "--warnings-as-errors", "-f", DEFINITIONS], "");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{way}: {said}");
        // kubectl warns of client-side apply on what was applied server-side; that is not about the definitions.
        let warned: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("Warning") && !line.contains("last-applied-configuration"))
            .collect();
        assert!(warned.is_empty(), "{way}: {warned:?}");
    }
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn the_definitions_are_served_as_they_are_named() {
    let kubectl = Kubectl::with_definitions("names");
    let names = definitions();
    assert!(names.len() >= 2, "{names:?}");
    for name in names {
        let definition = kubectl.succeeds(&["get", "crd", &name, "-o", "json"]);
        let definition: Value = serde_json::from_str(&definition).unwrap();
        let condition = |wanted: &str| {
            let conditions = definition["status"]["conditions"].as_array().unwrap();
            let found = conditions.iter().find(|condition| condition["type"] == wanted);
            found.map_or("absent", |condition| condition["status"].as_str().unwrap())
        };
        assert_eq!(condition("Established"), "True", "{name}");
        assert_eq!(condition("NamesAccepted"), "True", "{name}");
        assert_eq!(condition("NonStructuralSchema"), "absent", "{name}");
        assert_eq!(definition["spec"]["names"], definition["status"]["acceptedNames"], "{name}");
    }
}
