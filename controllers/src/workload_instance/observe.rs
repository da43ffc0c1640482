//! Looking at what an instance has: from the shared watch if this process has it, else with one list a kind.

use std::collections::BTreeSet;

use threeport::render::Resource;
use threeport::v1::ResourceReference;
use threeport_sdk::controller::{Context, Error as Failure};

use super::deployment::Deployment;
use super::outcome::Round;
use super::plan::{Key, Live, Observed, key};
use crate::clients::kubernetes::{Cluster, Error, Result, Scope};
use crate::drift;
use crate::resource::{INSTANCE_LABEL, is_shared};

/// Gives custom resources of which only the cluster knows the scope their namespace.
pub async fn scoped(cluster: &Cluster, mut resources: Vec<Resource>, namespace: &str) -> Vec<Resource> {
    for resource in resources
        .iter_mut()
        .filter(|resource| resource.is_cluster_scoped().is_none() && resource.namespace().is_empty())
    {
        // A kind that isn't known yet is looked for again when it is applied, and fails there with a name.
        if let Ok(found) = cluster.resource_type(resource.api_version(), resource.kind()).await
            && found.is_namespaced
        {
            resource.set_namespace(namespace);
        }
    }
    resources
}

impl Round {
    /// What the cluster has of what the inventory knows. Nothing is asked for an instance that has nothing yet.
    pub async fn observe(&self, context: &Context<impl Deployment>) -> std::result::Result<Result<Live>, Failure> {
        let known = context.inventory().iter().filter(|entry| !entry.uid.is_empty() && !entry.observed);
        let known =
            known.filter_map(|entry| entry.resource.as_ref()).filter(|known| !is_shared(known)).collect::<Vec<_>>();
        let instance_id = &context.object.meta().id.clone();
        if !context.full_look()
            && let Some(live) = self.watch.live(instance_id, known.iter().copied())
        {
            // Taken while the lease was held, so that its resource versions are older than any later holder's writes.
            context.lease().check()?;
            return Ok(Ok(live));
        }
        let kinds = known.iter().map(|known| (known.api_version.clone(), known.kind.clone())).collect::<BTreeSet<_>>();
        let labels = format!("{INSTANCE_LABEL}={instance_id}");
        let mut live = Live::new();
        for (api_version, kind) in kinds {
            match context.lease().guard(self.list(&api_version, &kind, &labels)).await? {
                Ok(found) => live.extend(found),
                Err(Error::UnknownKind { .. }) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(live))
    }

    async fn list(&self, api_version: &str, kind: &str, labels: &str) -> Result<Live> {
        let resource = self.cluster.resource_type(api_version, kind).await?;
        let items = self.cluster.list(&resource, &Scope { namespace: "", labels, fields: "" }).await?.items;
        let seen = items.iter().map(|item| Observed::of(item, &self.manager));
        Ok(seen.map(|seen| (key(&seen.reference), seen)).collect())
    }

    /// Leaves `replicas` to autoscalers: those of the instance itself, and any other that targets it.
    pub async fn yield_to_autoscalers(
        &mut self,
        context: &Context<impl Deployment>,
    ) -> std::result::Result<Result<()>, Failure> {
        let own = self.wanted.iter().filter(|one| one.reference.kind == "HorizontalPodAutoscaler");
        let mut targets = own.map(|one| drift::target(&one.value)).collect::<Vec<_>>();
        let scalable = self.wanted.iter().filter(|one| !one.value["spec"]["replicas"].is_null());
        let scalable = scalable.map(|one| one.reference.clone()).collect::<Vec<_>>();
        match self.autoscaled(context, &scalable).await? {
            Ok(found) => targets.extend(found),
            Err(error) => return Ok(Err(error)),
        }
        for one in &mut self.wanted {
            let is_scaled = !one.value["spec"]["replicas"].is_null() && targets.contains(&key(&one.reference));
            if let (true, Ok(path)) = (is_scaled, "spec.replicas".parse()) {
                one.yield_field(path);
            }
        }
        Ok(Ok(()))
    }

    /// What autoscalers target in the namespaces of these resources; nothing is asked about what doesn't exist yet.
    async fn autoscaled(
        &self,
        context: &Context<impl Deployment>,
        scalable: &[ResourceReference],
    ) -> std::result::Result<Result<Vec<Key>>, Failure> {
        if let Some(targets) = self.watch.autoscaled() {
            return Ok(Ok(targets));
        }
        let exists = |found: &&ResourceReference| {
            super::plan::entry(context.inventory(), found).is_some_and(|entry| !entry.uid.is_empty())
        };
        let namespaces = scalable.iter().filter(exists).map(|found| found.namespace.clone()).collect::<BTreeSet<_>>();
        let mut targets = Vec::new();
        for namespace in namespaces {
            let found = async {
                let resource = self.cluster.resource_type("autoscaling/v2", "HorizontalPodAutoscaler").await?;
                self.cluster.list(&resource, &Scope { namespace: &namespace, labels: "", fields: "" }).await
            };
            match context.lease().guard(found).await? {
                Ok(found) => targets.extend(found.items.iter().map(drift::target)),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(targets))
    }
}
