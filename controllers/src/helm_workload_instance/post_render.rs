//! What becomes of a chart's resources before Helm applies them: our marks on objects and pods. Helm runs this program for it.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use threeport::render::{Resource, charts};

use crate::resource::{
    APPLIED_BY, CONTROL_PLANE_LABEL, HELM_MANAGER, HOOK_LABEL, RESOURCE_POLICY, annotation, is_retained,
    set_annotation, set_label,
};
use crate::workload_instance::desired::{Owner, marked};

/// By it Helm knows later what is whose file; it is gone in what is applied.
const FILE: &str = "postrenderer.helm.sh/postrender-filename";
/// What Helm sets itself on all it applies: part of what counts as applied.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
const HOOK: &str = "helm.sh/hook";
/// An empty answer counts as a failure.
const NOTHING: &str = "# the chart renders to nothing\n";

/// Whose release it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostRender {
    pub control_plane_id: String,
    pub instance_id: String,
    pub release: String,
    pub namespace: String,
}

/// Marks what comes from stdin, by the settings in a file.
pub fn run(settings: &Path) -> Result<()> {
    let settings = std::fs::read(settings).with_context(|| format!("can't read `{}`", settings.display()))?;
    let settings: PostRender =
        serde_json::from_slice(&settings).context("the post-renderer's settings can't be read")?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("can't read what the chart renders to")?;
    std::io::stdout().write_all(settings.marked(&text)?.as_bytes()).context("can't write what is to be applied")
}

impl PostRender {
    /// The manifest with our marks. Its documents are JSON, which every reader of YAML takes for the same values.
    fn marked(&self, text: &str) -> Result<String> {
        let documents = charts::read_rendered(text)
            .map_err(|mistake| anyhow!("line {}, column {}: {}", mistake.line, mistake.column, mistake.message))?;
        let mut marked = String::new();
        for document in documents.into_iter().filter(Value::is_object) {
            marked.push_str("---\n");
            marked.push_str(&serde_json::to_string_pretty(&self.mark(document)).context("JSON can be written")?);
            marked.push('\n');
        }
        Ok(if marked.is_empty() { NOTHING.to_owned() } else { marked })
    }

    fn mark(&self, mut object: Value) -> Value {
        if !annotation(&object, HOOK).is_empty() {
            // No part of what runs: it comes and goes, and nothing of it is drift.
            set_label(&mut object, CONTROL_PLANE_LABEL, &self.control_plane_id);
            set_label(&mut object, HOOK_LABEL, &self.instance_id);
            return object;
        }
        let file = object["metadata"]["annotations"].as_object_mut().and_then(|annotations| annotations.remove(FILE));
        set_label(&mut object, MANAGED_BY, "Helm");
        set_annotation(&mut object, APPLIED_BY, HELM_MANAGER);
        set_annotation(&mut object, RELEASE_NAME, &self.release);
        set_annotation(&mut object, RELEASE_NAMESPACE, &self.namespace);
        if is_retained(&object) {
            set_annotation(&mut object, RESOURCE_POLICY, "keep");
        }
        let owner = Owner { control_plane_id: &self.control_plane_id, instance_id: &self.instance_id };
        let mut object = marked(Resource::new(object), &[], owner).value;
        if let Some(file) = file {
            object["metadata"]["annotations"][FILE] = file;
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::{APPLIED_HASH, INSTANCE_LABEL};

    fn marked_documents(text: &str) -> Vec<Value> {
        let settings = PostRender {
            control_plane_id: "plane".into(),
            instance_id: "instance".into(),
            release: "web".into(),
            namespace: "n".into(),
        };
        charts::read_rendered(&settings.marked(text).unwrap()).unwrap()
    }

    #[test]
    fn objects_and_pods_bear_our_marks() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {postrenderer.helm.sh/postrender-filename: a.yaml}}\nspec: {template: {metadata: {}}}\n";
        let object = &marked_documents(text)[0];
        assert_eq!(object["metadata"]["labels"][INSTANCE_LABEL], "instance");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"][CONTROL_PLANE_LABEL], "plane");
        assert_eq!(object["metadata"]["labels"][MANAGED_BY], "Helm");
        assert_eq!(object["metadata"]["annotations"][FILE], "a.yaml");
        assert!(object["metadata"]["annotations"][APPLIED_HASH].is_string());
    }

    #[test]
    fn where_it_came_from_is_no_part_of_what_is_applied() {
        let hash = |file: &str| {
            let text =
                format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, annotations: {{{FILE}: {file}}}}}\n");
            marked_documents(&text)[0]["metadata"]["annotations"][APPLIED_HASH].clone()
        };
        assert_eq!(hash("a.yaml"), hash("b.yaml"));
    }

    #[test]
    fn hooks_are_told_apart_and_what_is_to_stay_is_told_to_helm() {
        let text = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a, annotations: {helm.sh/hook: pre-install}}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n";
        let all = marked_documents(text);
        assert_eq!(all[0]["metadata"]["labels"], json!({ HOOK_LABEL: "instance", CONTROL_PLANE_LABEL: "plane" }));
        assert_eq!(all[1]["metadata"]["annotations"][RESOURCE_POLICY], "keep");
    }

    #[test]
    fn values_mean_what_they_mean_to_go() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {mode: 0644, host: no, text: \"0644\"}\n---\n# nothing\n";
        let all = marked_documents(text);
        assert_eq!(all[0]["spec"], json!({ "mode": 420, "host": false, "text": "0644" }));
        assert_eq!(all.len(), 1);
        assert!(marked_documents("# nothing at all\n").is_empty());
    }
}
