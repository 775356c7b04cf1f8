//! What Helm and kubectl make of `charts/lvs-operator` and `deploy`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use lvs_lab::apiserver::{ApiServer, KubeBinary, Programs};
use lvs_lab::cache::Cache;
use serde_json::Value;
use tempfile::TempDir;

const RELEASE: &str = "lvs-operator";
const NAMESPACE: &str = "lvs-system";

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the checkout")
}

fn chart() -> PathBuf {
    checkout().join("charts/lvs-operator")
}

/// One file of the checkout.
fn text(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

static KUBE: LazyLock<KubeBinary> = LazyLock::new(|| {
    let cache = Cache::open().expect("there is a cache");
    KubeBinary::prepare_in_background(&cache, Programs::Cluster)
        .wait()
        .expect("the Kubernetes programs build")
});

fn program(name: &str) -> PathBuf {
    KUBE.program(name)
}

fn helm(arguments: &[&str]) -> Output {
    static HOME: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for Helm"));
    let mut command = Command::new(program("helm"));
    for kind in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{kind}_HOME"), HOME.path());
    }
    command.args(arguments).output().expect("helm runs")
}

/// What Helm would install with these arguments, or what it says against them.
fn template(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart().display().to_string();
    let output = helm(&[&["template", RELEASE, &chart, "--namespace", NAMESPACE], arguments].concat());
    if output.status.success() {
        Ok(documents(&output.stdout))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn documents(yaml: &[u8]) -> Vec<Value> {
    let yaml = std::str::from_utf8(yaml).expect("YAML is text");
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("it is YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there is more than one {kind}");
    object
}

/// The agent's arguments.
fn arguments(objects: &[Value]) -> Vec<String> {
    let container = &find(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("the container has arguments");
    arguments.iter().map(|argument| argument.as_str().expect("an argument is a string").to_owned()).collect()
}

#[test]
fn the_charts_crds_are_the_generated_ones() {
    let files = |folder: &str| -> BTreeMap<String, String> {
        let entries =
            fs::read_dir(checkout().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let names =
            entries.map(|entry| entry.expect("a folder can be listed").file_name().into_string().unwrap());
        names.map(|name| (name.clone(), text(&format!("{folder}/{name}")))).collect()
    };
    assert!(
        files("charts/lvs-operator/files/crds") == files("crds/yaml"),
        "the chart's CRDs are stale: run `cargo crdgen`"
    );
}

#[test]
fn the_base_lists_every_crd() {
    let listed = text("crds/kustomization.yaml");
    for entry in fs::read_dir(checkout().join("crds/yaml")).expect("crds/yaml is there") {
        let name = entry.expect("crds/yaml can be listed").file_name().into_string().unwrap();
        assert!(listed.contains(&format!("yaml/{name}")), "crds/kustomization.yaml lacks {name}");
    }
}

#[test]
fn chart_and_base_carry_the_version_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("charts/lvs-operator/Chart.yaml", format!("version: {version}")),
        ("charts/lvs-operator/Chart.yaml", format!("appVersion: {version}")),
        ("deploy/daemonset.yaml", format!("image: localhost/lvs-operator:{version}")),
        ("deploy/Containerfile", format!("--tag localhost/lvs-operator:{version} ")),
    ] {
        let text = text(file);
        assert!(text.lines().any(|found| found.contains(&line)), "{file} has no `{line}`");
    }
}

#[test]
fn every_value_is_explained_and_described_by_the_schema() {
    let values: Value = serde_saphyr::from_str(&text("charts/lvs-operator/values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&text("charts/lvs-operator/values.schema.json")).unwrap();
    described(&values, &schema["properties"], "");
    // A comment stands above each value, or above a group whose names speak for themselves.
    let text = text("charts/lvs-operator/values.yaml");
    let director = text.split_once("\ndirector:\n").expect("there are values for the director").1;
    let lines: Vec<&str> = director.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let is_value =
            line.starts_with("  ") && !line.starts_with("   ") && !line.trim_start().starts_with('#');
        let above = number.checked_sub(1).map_or("", |above| lines[above]);
        let explained = above.trim_start().starts_with('#') || above.starts_with("  pod");
        assert!(!is_value || explained, "no comment above: {line}");
    }
}

fn described(values: &Value, properties: &Value, path: &str) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let property = &properties[name];
        assert!(property.is_object(), "the schema does not know {path}{name}");
        if property["properties"].is_object() {
            assert_eq!(property["additionalProperties"], false, "{path}{name} takes unknown keys");
            described(value, &property["properties"], &format!("{path}{name}."));
        }
    }
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn chart_and_base_install_the_same() {
    let output =
        Command::new(program("kubectl")).arg("kustomize").arg(checkout().join("deploy")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let base = normal(documents(&output.stdout));
    let chart = normal(template(&[]).unwrap());
    assert_eq!(chart.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
    for (name, object) in &chart {
        assert_eq!(object, &base[name], "{name}: the chart's is on the left, the base's on the right");
    }
}

#[test]
#[ignore = "needs an API server: cargo lab test"]
fn an_api_server_takes_the_base_without_a_warning() {
    let server = ApiServer::start(&KUBE).expect("an API server starts");
    let base = checkout().join("deploy");
    let output = server.kubectl().args(["apply", "--server-side", "--kustomize"]).arg(base).output().unwrap();
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{warned}");
    assert_eq!(warned, "");
    assert!(said.contains("daemonset.apps/lvs-operator-director serverside-applied"), "{said}");
}

/// Objects by kind and name, without what only Helm has, and without the namespace, which Helm is told on its command
/// line.
fn normal(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut normal = BTreeMap::new();
    for mut object in objects {
        if object["kind"] == "Namespace" {
            assert_eq!(object["metadata"]["name"], NAMESPACE);
            continue;
        }
        let metadata = object["metadata"].as_object_mut().expect("an object has metadata");
        for field in ["labels", "annotations"] {
            let Some(entries) = metadata.get_mut(field).and_then(Value::as_object_mut) else { continue };
            entries.retain(|name, _| !name.starts_with("helm.sh/") && name != "app.kubernetes.io/managed-by");
            if entries.is_empty() {
                metadata.remove(field);
            }
        }
        normal.insert(format!("{} {}", object["kind"], object["metadata"]["name"]), object);
    }
    normal
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn the_agent_has_two_capabilities_and_of_the_node_only_its_network_the_settings_of_that_and_one_folder() {
    let objects = template(&[]).unwrap();
    let pod = &find(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    for field in ["hostPID", "hostIPC"] {
        assert!(pod[field].is_null(), "{field}");
    }
    let security = serde_json::json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(pod["containers"][0]["securityContext"], security);
    let volumes = serde_json::json!([
        {"name": "state", "hostPath": {"path": "/var/lib/lvs-operator", "type": "DirectoryOrCreate"}},
        {"name": "settings", "hostPath": {"path": "/proc/sys/net", "type": "Directory"}},
    ]);
    assert_eq!(pod["volumes"], volumes);
    let without = template(&["--set=director.writeKernelSettings=false"]).unwrap();
    let pod_without = &find(&without, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod_without["volumes"].as_array().unwrap()[..], volumes.as_array().unwrap()[..1]);
    assert_eq!(pod["nodeSelector"], serde_json::json!({"lvs-operator.dev/director": "true"}));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(pod["containers"][0][probe]["httpGet"]["host"], "127.0.0.1", "{probe}");
    }
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn values_become_flags_that_the_agent_knows() {
    let objects = template(&[
        "--set=director.vipInterface=bond0",
        "--set=director.metricsHttp=0.0.0.0:9473",
        "--set=director.httpPort=9999",
        "--set=director.resyncSeconds=60",
        "--set=director.logFormat=text",
        "--set=director.stateDir=/srv/lvs",
    ])
    .unwrap();
    let arguments = arguments(&objects);
    let expected = [
        "run",
        "--state-dir=/var/lib/lvs-operator",
        "--http=127.0.0.1:9999",
        "--metrics-http=0.0.0.0:9473",
        "--vip-interface=bond0",
        "--resync-seconds=60",
        "--log-format=text",
    ];
    assert_eq!(arguments, expected);
    // It reads its arguments from left to right, so help comes only if it knows all before that.
    let controller = std::env::var("LVS_LAB_CONTROLLER").expect("cargo lab test sets LVS_LAB_CONTROLLER");
    let said = Command::new(controller).args(&arguments).arg("--help").output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let pod = &find(&objects, "DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["hostPath"]["path"], "/srv/lvs");
    assert_eq!(pod["containers"][0]["livenessProbe"]["httpGet"]["port"], 9999);
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn an_image_is_named_by_tag_or_by_digest() {
    let image = |arguments: &[&str]| {
        let objects = template(arguments).unwrap();
        find(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let version = env!("CARGO_PKG_VERSION");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(image(&[]), format!("localhost/lvs-operator:{version}"));
    assert_eq!(image(&["--set=image.repository=r.example/x", "--set=image.tag=next"]), "r.example/x:next");
    assert_eq!(image(&[&format!("--set=image.digest={digest}")]), format!("localhost/lvs-operator@{digest}"));
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn values_that_nobody_reads_or_that_cannot_work_are_refused() {
    for (argument, named) in [
        ("--set=directr.resyncSeconds=5", "directr"),
        ("--set=director.resyncSecs=5", "resyncSecs"),
        ("--set=director.resyncSeconds=0", "resyncSeconds"),
        ("--set-string=director.resyncSeconds=5", "resyncSeconds"),
        ("--set=director.logFormat=xml", "logFormat"),
        ("--set=director.metricsHttp=:9473", "metricsHttp"),
        ("--set=director.stateDir=relative", "stateDir"),
        ("--set=director.nodeSelector=null", "nodeSelector"),
        ("--set=director.tolerations[0].keyy=a", "keyy"),
        ("--set=image.pullPolicy=Sometimes", "pullPolicy"),
        ("--set=image.digest=abc", "digest"),
        ("--set=crds.install=maybe", "install"),
    ] {
        let error = template(&[argument]).expect_err(argument);
        assert!(error.contains(named), "{argument}: {error}");
    }
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn crds_are_kept_by_an_uninstall_and_can_be_left_to_somebody_else() {
    let crds = |objects: &[Value]| -> Vec<Value> {
        objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").cloned().collect()
    };
    let installed = crds(&template(&[]).unwrap());
    assert_eq!(installed.len(), fs::read_dir(checkout().join("crds/yaml")).unwrap().count());
    for crd in &installed {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    // Read by Helm and printed again, they still say what the generated files say.
    let generated = documents(text("crds/yaml/virtualservices.lvs-operator.dev.yaml").as_bytes());
    let printed =
        installed.iter().find(|crd| crd["metadata"]["name"] == generated[0]["metadata"]["name"]).unwrap();
    assert_eq!(printed["spec"], generated[0]["spec"]);
    assert_eq!(crds(&template(&["--set=crds.install=false"]).unwrap()), Vec::<Value>::new());
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn helm_lint_has_nothing_to_say_and_an_older_kubernetes_is_refused() {
    let output = helm(&["lint", "--strict", &chart().display().to_string()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let error = template(&["--kube-version=1.31.9"]).expect_err("1.31 is too old");
    assert!(error.contains("1.32"), "{error}");
    assert!(template(&["--kube-version=1.32.0"]).is_ok());
}

#[test]
#[ignore = "needs helm and kubectl: cargo lab test"]
fn a_release_of_another_name_has_names_of_its_own() {
    let chart = chart().display().to_string();
    let output = helm(&["template", "edge", &chart, "--namespace", "elsewhere"]);
    let objects = documents(&output.stdout);
    assert_eq!(find(&objects, "DaemonSet")["metadata"]["name"], "edge-lvs-operator-director");
    let subject = &find(&objects, "ClusterRoleBinding")["subjects"][0];
    assert_eq!(subject["name"], find(&objects, "ServiceAccount")["metadata"]["name"]);
    assert_eq!(subject["namespace"], "elsewhere");
}
