//! What the pure crates may depend on: nothing that runs tasks, opens sockets or talks to an API server.

use std::process::Command;

/// Each with what it would bring in.
const BANNED: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "futures-executor",
    "kube-client",
    "kube-runtime",
    "hyper",
    "reqwest",
    "rustls",
    "neli",
    "netlink-sys",
    "rtnetlink",
    "socket2",
    "mio",
    "lvs-net",
    "lvs-ipvs",
];

/// The names of all crates that a crate of the workspace is built with, tests left out.
fn built_with(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package"];
    let output = Command::new(cargo)
        .args(arguments)
        .arg(package)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names of crates are text");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_plan_and_the_api_types_never_pull_in_a_runtime_a_client_or_a_socket() {
    for package in ["lvs-plan", "lvs-crds"] {
        let crates = built_with(package);
        assert!(crates.iter().any(|name| name == "kube-core"), "cargo tree lists them: {crates:?}");
        let found: Vec<_> = crates.iter().filter(|name| BANNED.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} is built with {found:?}");
    }
}
