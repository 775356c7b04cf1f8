//! Installing: the chart and the kustomize base as Helm and kubectl read them, and both in a cluster.

mod act_three;
mod install;
