//! Building everything that the tests are and need, in one run of cargo.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Place, Suite};
use crate::progress;

/// The package of the tests that run the controller.
const LAB: &str = "lvs-lab";
const CONTROLLER: &str = "lvs-controller";
/// Lets tests kill the controller at named places.
const CRASH_POINTS: &str = "lvs-controller/crash-points";

/// The workspace as cargo knows it.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|known| known == kind)
    }
}

/// What is to be built: the whole workspace, or the package, and perhaps the target of it, that a filter names.
pub struct Scope {
    metadata: Metadata,
    package: Option<String>,
    target: Option<String>,
    /// Whether the controller comes from elsewhere.
    controller_given: bool,
}

/// What was built.
pub struct Built {
    /// The test binaries.
    pub suites: Vec<Suite>,
    /// The controller, if it is in the scope.
    pub controller: Option<PathBuf>,
}

impl Scope {
    /// The package `P` for the filters `P` and `P::TEST`, its target for `P/TARGET` and `P/TARGET::TEST`; for any other
    /// filter, every package may have such a test. With `controller_given`, no controller is built for the lab's tests.
    pub fn of(filter: Option<&str>, controller_given: bool) -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot run cargo")?;
        let metadata: Metadata = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("cannot read the workspace: {}", String::from_utf8_lossy(&output.stderr).trim_end())
        })?;
        Ok(Self::within(metadata, filter, controller_given))
    }

    fn within(metadata: Metadata, filter: Option<&str>, controller_given: bool) -> Self {
        let (suite, _) =
            filter.unwrap_or_default().split_once("::").unwrap_or((filter.unwrap_or_default(), ""));
        let (name, target) = suite.split_once('/').unwrap_or((suite, ""));
        let package = metadata.packages.iter().find(|package| package.name == name);
        let target = package.and_then(|package| {
            package
                .targets
                .iter()
                .find(|known| known.name == target && known.is("test"))
                .map(|_| target.to_owned())
        });
        Self { package: package.map(|package| package.name.clone()), target, controller_given, metadata }
    }

    /// Whether any target in the scope has tests for such a place.
    pub fn has(&self, wanted: impl Fn(Place) -> bool) -> bool {
        let in_scope = |target: &Target| self.target.as_ref().is_none_or(|only| *only == target.name);
        self.packages().flat_map(|package| &package.targets).any(|target| {
            target.is("test") && in_scope(target) && Place::of_target(&target.name).is_some_and(&wanted)
        })
    }

    /// Whether this is everything.
    pub fn is_whole(&self) -> bool {
        self.package.is_none()
    }

    fn packages(&self) -> impl Iterator<Item = &Package> {
        let in_scope = |name: &str| self.package.as_deref().is_none_or(|only| only == name);
        self.metadata.packages.iter().filter(move |package| in_scope(&package.name))
    }

    fn arguments(&self) -> Vec<&str> {
        let Some(package) = self.package.as_deref() else {
            return vec!["--workspace", "--all-targets", "--features", CRASH_POINTS];
        };
        let mut arguments = vec!["--package", package];
        match &self.target {
            None => arguments.push("--all-targets"),
            Some(target) => arguments.extend(["--test", target]),
        }
        if package == LAB && !self.controller_given {
            arguments.extend(["--package", CONTROLLER, "--features", CRASH_POINTS]);
            if let Some(target) = &self.target {
                arguments.extend(["--bin", CONTROLLER]);
                // The test of the bench runs it.
                if target == "kernel" {
                    arguments.extend(["--example", "driver"]);
                }
            }
        }
        arguments
    }
}

/// Builds the scope's test binaries and programs. In one run, no dependency is compiled twice because
/// tests want other features of it.
pub fn build(scope: &Scope) -> Result<Built> {
    let step = progress::step("building tests");
    let mut command = cargo();
    command
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(scope.arguments())
        .current_dir(&scope.metadata.workspace_root);
    let messages = step.run(&mut command)?;
    step.done();
    Ok(scope.read(&messages))
}

/// One of cargo's messages, as far as it tells of a program.
#[derive(Deserialize)]
struct Message {
    package_id: String,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Scope {
    fn read(&self, messages: &str) -> Built {
        let packages: BTreeMap<&str, &Package> =
            self.packages().map(|package| (package.id.as_str(), package)).collect();
        let mut built = Built { suites: Vec::new(), controller: None };
        // Lines that are no such message tell of other things.
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()) {
            let Some(program) = message.executable else { continue };
            if !message.profile.test && message.target.is("bin") && message.target.name == CONTROLLER {
                built.controller = Some(program);
            } else if let Some(package) =
                packages.get(message.package_id.as_str()).filter(|_| message.profile.test)
            {
                let label = if message.target.is("lib") {
                    package.name.clone()
                } else {
                    format!("{}/{}", package.name, message.target.name)
                };
                let folder = package.manifest_path.parent().unwrap_or(Path::new("/")).to_owned();
                built.suites.push(Suite { label, target: message.target.name, program, folder });
            }
        }
        built.suites.sort_by(|one, other| one.label.cmp(&other.label));
        built
    }
}

/// The cargo that runs this program, else the one on the path.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(filter: Option<&str>) -> Scope {
        let target = |name: &str, kind: &str| Target { name: name.to_owned(), kind: vec![kind.to_owned()] };
        let package_of = |name: &str, targets| Package {
            id: format!("path+file:///src/{name}#0.1.0"),
            name: name.to_owned(),
            manifest_path: format!("/src/{name}/Cargo.toml").into(),
            targets,
        };
        let metadata = Metadata {
            workspace_root: "/src".into(),
            packages: vec![
                package_of("lvs-net", vec![target("lvs_net", "lib"), target("kernel", "test")]),
                package_of("lvs-controller", vec![target("lvs-controller", "bin")]),
                package_of(
                    "lvs-lab",
                    vec![target("standalone", "test"), target("rules", "test"), target("kernel", "test")],
                ),
            ],
        };
        Scope::within(metadata, filter, false)
    }

    fn message(package: &str, target: &str, kind: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///src/{package}#0.1.0","target":{{"kind":["{kind}"],"name":"{target}"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
        )
    }

    #[test]
    fn test_binaries_get_labels_and_folders_and_the_controller_is_found() {
        let messages = [
            message("lvs-net", "lvs_net", "lib", false, "null"),
            message("lvs-net", "kernel", "test", true, "\"/t/kernel-1\""),
            message("lvs-net", "lvs_net", "lib", true, "\"/t/lvs_net-1\""),
            message("lvs-controller", "lvs-controller", "bin", false, "\"/t/lvs-controller\""),
            message("lvs-controller", "lvs-controller", "bin", true, "\"/t/lvs_controller-1\""),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let built = scope(None).read(&messages.join("\n"));
        assert_eq!(built.controller.as_deref(), Some(Path::new("/t/lvs-controller")));
        let seen: Vec<_> = built
            .suites
            .iter()
            .map(|suite| {
                (suite.label.as_str(), suite.program.to_str().unwrap(), suite.folder.to_str().unwrap())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("lvs-controller/lvs-controller", "/t/lvs_controller-1", "/src/lvs-controller"),
                ("lvs-net", "/t/lvs_net-1", "/src/lvs-net"),
                ("lvs-net/kernel", "/t/kernel-1", "/src/lvs-net"),
            ]
        );
    }

    #[test]
    fn a_filter_that_names_a_package_or_a_target_of_it_builds_no_more_than_that() {
        for (filter, arguments) in [
            (None, "--workspace --all-targets --features lvs-controller/crash-points"),
            (Some("drift"), "--workspace --all-targets --features lvs-controller/crash-points"),
            (Some("lvs-net"), "--package lvs-net --all-targets"),
            (Some("lvs-net::probe"), "--package lvs-net --all-targets"),
            (Some("lvs-net/kernel"), "--package lvs-net --test kernel"),
            (Some("lvs-net/kernel::probe::x"), "--package lvs-net --test kernel"),
            (Some("lvs-net/none"), "--package lvs-net --all-targets"),
            (
                Some("lvs-lab"),
                "--package lvs-lab --all-targets --package lvs-controller --features lvs-controller/crash-points",
            ),
            (
                Some("lvs-lab/standalone"),
                "--package lvs-lab --test standalone --package lvs-controller --features lvs-controller/crash-points \
                 --bin lvs-controller",
            ),
            (
                Some("lvs-lab/kernel"),
                "--package lvs-lab --test kernel --package lvs-controller --features lvs-controller/crash-points \
                 --bin lvs-controller --example driver",
            ),
        ] {
            assert_eq!(scope(filter).arguments().join(" "), arguments, "{filter:?}");
        }
    }

    #[test]
    fn a_scope_knows_what_its_targets_need() {
        assert!(scope(Some("lvs-net")).has(Place::is_in_guest));
        assert!(!scope(Some("lvs-net")).has(Place::needs_apiserver));
        assert!(!scope(Some("lvs-controller")).has(|_| true));
        assert!(scope(Some("lvs-lab")).has(Place::needs_apiserver));
        assert!(!scope(Some("lvs-lab/standalone")).has(Place::needs_apiserver));
    }
}
