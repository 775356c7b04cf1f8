//! What is shipped: a build that names no features, as `deploy/Containerfile` describes it.

use std::process::Command;

#[test]
fn what_is_shipped_has_no_places_to_die() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let features = |more: &[&str]| {
        let output = Command::new(&cargo)
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal",
                "--depth",
                "0",
                "--prefix",
                "none",
                "--format",
                "{f}",
            ])
            .args(more)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!features(&[]).contains("crash-points"));
    assert!(features(&["--features", "crash-points"]).contains("crash-points"), "cargo tree would list it");
    let containerfile = include_str!("../../deploy/Containerfile");
    assert!(containerfile.contains("cargo build --release") && !containerfile.contains("--features"));
}
