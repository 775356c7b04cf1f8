//! What an agent finds at an API server: the definitions, and rights of its own.

/// The agent's service account, by namespace and name, as `deploy/` has it.
pub const SERVICE_ACCOUNT: (&str, &str) = ("lvs-system", "lvs-operator-director");

/// What `kubectl` is told before an agent can start, in the checkout.
pub const PREPARATION: [&str; 4] = [
    "apply --server-side -f crds/yaml",
    "wait --for condition=Established -f crds/yaml",
    "apply -f deploy/namespace.yaml",
    "apply -n lvs-system -f deploy/serviceaccount.yaml -f deploy/rbac.yaml",
];
