//! Every reconciler of this process: one line for each reconciled kind.

use std::collections::BTreeSet;

use threeport_sdk::controller::{Reconciler, Runner};

use crate::clients::helm::Helm;
use crate::clients::kubernetes::Clusters;
use crate::drift::Watches;
use crate::helm_workload_instance::HelmWorkloadInstances;
use crate::runtime_instance::RuntimeInstances;
use crate::workload::Workloads;
use crate::workload_instance::WorkloadInstances;

/// A kind that was asked for and that nothing here reconciles.
#[derive(Debug, thiserror::Error)]
#[error("no built-in controller reconciles `{kind}`; there are {known}")]
pub struct UnknownKind {
    kind: String,
    known: String,
}

struct Registration {
    runner: Runner,
    /// Kinds to run; empty for all.
    kinds: BTreeSet<String>,
    added: BTreeSet<(&'static str, &'static str)>,
}

impl Registration {
    fn add<R: Reconciler>(mut self, reconciler: R) -> Self {
        let kind = <R::Object as threeport::object::Object>::KIND;
        self.added.insert((kind, R::CONTROLLER));
        if self.kinds.is_empty() || self.kinds.contains(kind) {
            self.runner = self.runner.add(reconciler);
        }
        self
    }
}

/// Adds the reconcilers of these kinds to a runner; of all kinds if none is named.
pub fn register(runner: Runner, kinds: &[String], helm: Helm) -> Result<Runner, UnknownKind> {
    let registration = Registration { runner, kinds: kinds.iter().cloned().collect(), added: BTreeSet::new() };
    let registration = add_all(registration, helm);
    let known = |kind: &String| registration.added.iter().any(|(added, _)| added == kind);
    if let Some(kind) = registration.kinds.iter().find(|kind| !known(kind)) {
        let known = registration.added.iter().map(|(added, _)| format!("`{added}`")).collect::<Vec<_>>().join(", ");
        return Err(UnknownKind { kind: kind.clone(), known });
    }
    Ok(registration.runner)
}

fn add_all(registration: Registration, helm: Helm) -> Registration {
    let clusters = Clusters::default();
    let watches = Watches::new(clusters.clone());
    registration
        .add(Workloads)
        .add(WorkloadInstances { clusters: clusters.clone(), watches: watches.clone() })
        .add(HelmWorkloadInstances::new(clusters.clone(), watches.clone(), helm))
        .add(RuntimeInstances { clusters, watches })
}

#[cfg(test)]
mod tests {
    use threeport::registry::Registry;
    use threeport_sdk::controller::RunnerConfig;
    use threeport_sdk::{Client, Connection};

    use super::*;

    /// The built-in controllers that have no reconciler here.
    fn missing(added: &BTreeSet<(&str, &str)>) -> Vec<String> {
        let reconciled =
            Registry::built_in().kinds().flat_map(|kind| kind.controllers.iter().map(move |one| (kind, one)));
        let is_missing =
            |(kind, controller): &(&std::sync::Arc<threeport::kind::Kind>, &threeport::kind::Controller)| {
                !added.contains(&(kind.name.as_str(), controller.name.as_str()))
            };
        reconciled.filter(is_missing).map(|(kind, controller)| format!("{} ({})", kind.name, controller.name)).collect()
    }

    fn registration() -> Registration {
        let connection = Connection { server: "http://127.0.0.1:1".into(), token: String::new() };
        let runner = Runner::new(Client::connect(&connection).unwrap(), None, RunnerConfig::default());
        Registration { runner, kinds: BTreeSet::new(), added: BTreeSet::new() }
    }

    #[tokio::test]
    async fn every_reconciled_kind_has_a_reconciler() {
        let missing = missing(&add_all(registration(), Helm::new("helm".into())).added);
        assert!(missing.is_empty(), "add a reconciler for {} in controllers/src/registry.rs", missing.join(", "));
    }

    #[tokio::test]
    async fn an_unknown_kind_is_refused_with_those_there_are() {
        let error =
            register(registration().runner, &["widget".into()], Helm::new("helm".into())).err().unwrap().to_string();
        assert!(error.contains("`widget`") && error.contains("`workload-instance`"), "{error}");
    }
}
