//! The chart in a cluster of two real nodes.

use std::path::Path;

use lvs_lab::cluster::Prepared;

#[test]
#[ignore = "needs root, QEMU, containerd and the Kubernetes programs: cargo lab test"]
fn the_chart_serves_through_the_vip_of_a_real_cluster() {
    let prepared = Prepared::new(None).expect("everything can be built");
    let report = prepared.play(Path::new(env!("CARGO_BIN_EXE_lab"))).expect("the cluster comes up");
    assert_eq!(report.failed, None, "passed before: {:?}", report.passed);
    assert!(!report.passed.is_empty());
}
