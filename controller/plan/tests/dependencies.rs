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

/// What `lvs-plan` uses itself, and what for: all of it computes and nothing else.
const USED_BY_THE_PLAN: &[(&str, &str)] = &[
    ("litemap", "small maps for what is kept of ten thousand objects"),
    ("lvs-crds", "the API types and their rules"),
    ("regex", "`bodyRegex` is compiled to see whether it can be: no other code knows this dialect"),
    ("rustls-pki-types", "PEM and the form of server names, as the TLS library reads them"),
    ("rustls-webpki", "whether the certificates of `ca` can be trusted ones, as the TLS library decides"),
    ("thiserror", "errors"),
];

/// The names of all crates that a crate of the workspace is built with, tests left out.
fn built_with(package: &str) -> Vec<String> {
    tree(package, &[])
}

fn tree(package: &str, more: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package"];
    let output = Command::new(cargo)
        .args(arguments)
        .arg(package)
        .args(more)
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

#[test]
fn the_plan_uses_few_crates_itself_each_for_a_reason() {
    let mut used = tree("lvs-plan", &["--depth", "1"]);
    used.retain(|name| name != "lvs-plan");
    used.sort();
    used.dedup();
    let expected: Vec<&str> = USED_BY_THE_PLAN.iter().map(|(name, _)| *name).collect();
    assert_eq!(used, expected);
}
