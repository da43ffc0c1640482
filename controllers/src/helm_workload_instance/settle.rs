//! A release that Helm has nothing to do for: what its manifest says is seen to, and how it went is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::render::{Resource, charts, manifest};
use threeport::v1::{HelmWorkloadInstance, InventoryEntry};
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};

use super::release_plan::Revision;
use super::visit::Visit;
use crate::clients::helm::{Failed, Release};
use crate::resource::{APPLIED_HASH, annotation};
use crate::workload_instance::not_ready;
use crate::workload_instance::observe::scoped;
use crate::workload_instance::plan::{entry, key};

/// Releases remembered; they may be large.
const REMEMBERED: usize = 64;

/// What the revisions that run are made of, by instance: a revision never changes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Releases {
    known: Arc<Mutex<HashMap<String, Known>>>,
}

/// The uid of the record, and what it says.
type Known = (String, Arc<Release>);

impl Releases {
    /// By the instance's id and the uid of the record.
    fn get(&self, instance_id: &str, uid: &str) -> Option<Arc<Release>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(instance_id).filter(|(of, _)| of == uid).map(|(_, release)| release.clone())
    }

    fn put(&self, instance_id: &str, uid: &str, release: Arc<Release>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(instance_id) {
            known.clear();
        }
        known.insert(instance_id.to_owned(), (uid.to_owned(), release));
    }
}

impl Visit<'_> {
    /// Looks after what runs, if anything does, and says what has failed, if anything has.
    pub async fn settle(
        &self,
        context: &mut Context<HelmWorkloadInstance>,
        deployed: Option<Revision>,
        failed: Option<Revision>,
    ) -> Result<Next, Failure> {
        let failed = match &failed {
            Some(failed) => match self.controller.helm.read(&self.target, failed.number).await {
                Ok(release) => Some(release),
                Err(error) => return self.failed(context, &error),
            },
            None => None,
        };
        let words = failed.as_ref().map(|failed| failed.description.clone());
        let Some(deployed) = deployed else {
            let words = words.unwrap_or_default();
            self.note_hooks(context, &failed.iter().collect::<Vec<_>>());
            context.condition("Released", false, "InstallFailed", words.clone());
            return Err(not_ready(context, &self.status(), "InstallFailed", &words, true));
        };
        let release = match self.release(context, &deployed).await {
            Ok(release) => release,
            Err(error) => return self.failed(context, &error),
        };
        self.note_hooks(context, &failed.iter().chain([&*release]).collect::<Vec<_>>());
        let next = self.look_after(context, &deployed, &release).await;
        match words {
            None => {
                context.condition("Released", true, "Released", "");
                next
            }
            Some(words) => {
                let message = format!("{words}; revision {} runs again", deployed.number);
                if !has_reason(context, "RolledBack") {
                    context.event(EventType::Warning, "RolledBack", message.clone());
                }
                context.condition("Released", false, "RolledBack", message.clone());
                context.condition("Ready", false, "RolledBack", message.clone());
                match next? {
                    Next::Done => Err(Failure::give_up("RolledBack", message)),
                    next @ Next::CheckIn(_) => Ok(next),
                }
            }
        }
    }

    /// What hooks leave is to go with the rest some day.
    pub fn note_hooks(&self, context: &mut Context<HelmWorkloadInstance>, releases: &[&Release]) {
        context.keep_inventory(hooks(releases, &self.source.namespace, context.inventory()));
    }

    async fn release(
        &self,
        context: &Context<HelmWorkloadInstance>,
        revision: &Revision,
    ) -> Result<Arc<Release>, Failed> {
        let instance_id = &context.object.meta().id;
        if let Some(known) = self.controller.releases.get(instance_id, &revision.uid) {
            return Ok(known);
        }
        let release = Arc::new(self.controller.helm.read(&self.target, revision.number).await?);
        self.controller.releases.put(instance_id, &revision.uid, release.clone());
        Ok(release)
    }

    /// A round over the manifest, as of any deployment.
    async fn look_after(
        &self,
        context: &mut Context<HelmWorkloadInstance>,
        revision: &Revision,
        release: &Release,
    ) -> Result<Next, Failure> {
        let mut status = self.status();
        status["release_revision"] = json!(revision.number.to_string());
        status["chart_version"] = json!(release.chart_version);
        status["app_version"] = json!(release.app_version);
        let resources = match resources(&release.manifest, &self.source.namespace) {
            Ok(resources) => scoped(&self.cluster, resources, &self.source.namespace).await,
            Err(message) => return Err(not_ready(context, &status, "ManifestUnreadable", &message, true)),
        };
        let noted =
            |resource: &Resource| (key(&resource.reference()), annotation(&resource.value, APPLIED_HASH).to_owned());
        let hashes = resources.iter().map(noted).collect::<HashMap<_, _>>();
        let mut round = self.round(context, resources, status);
        for one in &mut round.wanted {
            // What the post-renderer has noted counts, so that Helm and a repair of ours write the same.
            if let Some(hash) = hashes.get(&key(&one.reference)) {
                one.keep_hash(hash);
            }
        }
        round.run(context).await
    }
}

/// The resources of a manifest, in the release's namespace where they name none.
fn resources(text: &str, namespace: &str) -> Result<Vec<Resource>, String> {
    let documents = charts::read_rendered(text).map_err(|mistake| {
        format!("the release's manifest can't be read: line {}: {}", mistake.line, mistake.message)
    })?;
    let mut resources = documents.into_iter().filter(Value::is_object).map(Resource::new).collect::<Vec<_>>();
    manifest::learn_scopes(&mut resources);
    let is_placeless = |found: &Resource| found.is_cluster_scoped() == Some(false) && found.namespace().is_empty();
    for resource in resources.iter_mut().filter(|resource| is_placeless(resource)) {
        resource.set_namespace(namespace);
    }
    Ok(resources)
}

/// What hooks leave in the cluster, as far as it isn't known yet: no part of what runs, and to go with it.
pub fn hooks(releases: &[&Release], namespace: &str, known: &[InventoryEntry]) -> Vec<InventoryEntry> {
    let manifests = releases.iter().flat_map(|release| &release.hooks);
    let mut new: Vec<InventoryEntry> = Vec::new();
    for hook in manifests.filter_map(|hook| resources(hook, namespace).ok()).flatten() {
        let reference = hook.reference();
        // One resource may be the hook of several moments.
        if entry(known, &reference).is_none() && entry(&new, &reference).is_none() {
            new.push(InventoryEntry { resource: Some(reference), observed: true, ..InventoryEntry::default() });
        }
    }
    new
}

fn has_reason(context: &Context<HelmWorkloadInstance>, reason: &str) -> bool {
    let conditions = context.object.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.r#type == "Released" && condition.reason == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_into_the_releases_namespace() {
        let text = "---\n# Source: a\n{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: b}\n";
        let found = resources(text, "n").unwrap();
        assert_eq!(found.iter().map(Resource::namespace).collect::<Vec<_>>(), ["n", ""]);
        assert!(resources("a: [", "n").unwrap_err().contains("line"));
    }

    #[test]
    fn hooks_are_noted_once() {
        let hook = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n".to_owned();
        let release = Release { hooks: vec![hook.clone(), hook], ..Release::default() };
        let noted = hooks(&[&release, &release], "n", &[]);
        assert_eq!(noted.len(), 1);
        assert!(noted[0].observed && noted[0].resource.as_ref().unwrap().namespace == "n");
        assert_eq!(hooks(&[&release], "n", &noted), []);
    }

    #[test]
    fn releases_are_remembered_by_their_record() {
        let releases = Releases::default();
        releases.put("a", "first", Arc::default());
        assert!(releases.get("a", "first").is_some() && releases.get("a", "second").is_none());
        for number in 0..REMEMBERED {
            releases.put(&number.to_string(), "x", Arc::default());
        }
        assert!(releases.known.lock().unwrap().len() <= REMEMBERED);
    }
}
