//! What an instance is rendered from, as its reconcile reads it.

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::render::{self, Resource, default_namespace, manifest_namespaces, parse_manifest};
use threeport::v1::{
    Attachment, AttachmentSpec, KubernetesRuntimeInstance, WorkloadDefinition, WorkloadDefinitionSpec,
    WorkloadInstance, WorkloadInstanceSpec,
};
use threeport_sdk::controller::{Context, Error as Failure};
use uuid::Uuid;

/// The inputs of a rendering, and what they say of themselves.
pub struct Source {
    pub name: String,
    pub namespace: String,
    pub runtime: Option<KubernetesRuntimeInstance>,
    spec: WorkloadInstanceSpec,
    definition: WorkloadDefinitionSpec,
    /// What the instance runs, and whether there is something newer.
    generation: i64,
    is_behind: bool,
    attachments: Vec<(String, AttachmentSpec)>,
    /// Those among them that are being deleted.
    leaving: Vec<String>,
}

impl Source {
    /// Fails for an instance whose definition can't be read.
    pub fn of(context: &Context<WorkloadInstance>) -> Result<Self, Failure> {
        let meta = context.object.meta();
        let spec = context.object.spec.clone().unwrap_or_default();
        let newest = context.used::<WorkloadDefinition>();
        let newest = newest.ok_or_else(|| anyhow::anyhow!("definition `{}` can't be read", spec.definition))?;
        let newest_generation = newest.meta().generation;
        let pinned = context.pinned_definition::<WorkloadDefinition>();
        let generation = spec.definition_generation.filter(|_| pinned.is_some()).unwrap_or(newest_generation);
        let definition = pinned.unwrap_or(newest).spec.unwrap_or_default();
        let mut attachments = context
            .attachments()
            .iter()
            .filter_map(|erased| Attachment::from_erased(erased.clone()).ok())
            .collect::<Vec<_>>();
        attachments.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
        let leaving = attachments.iter().filter(|one| one.is_deleting()).map(|one| one.meta().name.clone()).collect();
        let named = |one: Attachment| (one.meta().name.clone(), one.spec.unwrap_or_default());
        let id = Uuid::parse_str(&meta.id).map_err(|error| anyhow::anyhow!("the instance's id is no UUID: {error}"))?;
        // A manifest that can't be read fails the rendering, with a message.
        let named_by_manifest = manifest_namespaces(&parse_manifest(&definition.manifest).unwrap_or_default());
        let namespace = default_namespace(&meta.name, id, &spec.namespace, &named_by_manifest);
        Ok(Self {
            name: meta.name.clone(),
            namespace,
            runtime: context.used(),
            definition,
            generation,
            is_behind: generation < newest_generation,
            attachments: attachments.into_iter().map(named).collect(),
            leaving,
            spec,
        })
    }

    pub fn is_paused(&self) -> bool {
        self.spec.paused.unwrap_or(false)
    }

    pub fn is_simulated(&self) -> bool {
        self.runtime.as_ref().and_then(|runtime| runtime.status.as_ref()).is_some_and(|status| status.simulated)
    }

    /// What the status says of the source alone.
    pub fn status(&self) -> Value {
        // Canonical JSON of an int64 is a string.
        let generation = self.generation.to_string();
        json!({ "namespace": self.namespace, "definition_generation": generation, "behind": self.is_behind })
    }

    /// The resources to apply, or all that doesn't fit.
    pub fn render(&self) -> Result<Vec<Resource>, String> {
        let staying =
            self.attachments.iter().filter(|(name, _)| !self.leaving.contains(name)).cloned().collect::<Vec<_>>();
        self.render_with(&staying)
    }

    /// What only attachments being deleted contribute: all that a paused instance may still remove.
    pub fn render_leaving(&self) -> Result<Vec<Resource>, String> {
        if self.leaving.is_empty() {
            return Ok(Vec::new());
        }
        let staying = self.render()?;
        let is_staying = |resource: &Resource| staying.iter().any(|other| other.identity() == resource.identity());
        Ok(self.render_with(&self.attachments)?.into_iter().filter(|resource| !is_staying(resource)).collect())
    }

    fn render_with(&self, attachments: &[(String, AttachmentSpec)]) -> Result<Vec<Resource>, String> {
        let source = render::Source {
            definition: &self.definition,
            instance: &self.spec,
            name: &self.name,
            namespace: &self.namespace,
            attachments,
            images: &[],
        };
        render::render(&source).map_err(|violations| {
            let lines = violations.iter().map(|violation| format!("{}: {}", violation.field, violation.description));
            lines.collect::<Vec<_>>().join("; ")
        })
    }
}
