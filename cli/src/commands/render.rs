//! `tptctl render`: exactly what would be applied to clusters.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use threeport::json::{from_struct, to_struct};
use threeport::v1::{Object, ObjectMeta, RenderResponse};
use threeport_sdk::document;

use crate::error::Usage;
use crate::session::Session;
use crate::{named, view};

/// Show the Kubernetes manifest that a workload, instance or definition applies
///
/// Secrets are hidden.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl render workload web                   of all of its instances
  tptctl render wi web-default | less
  tptctl render workload web --eject > web.yaml   the workload as a document with a manifest of its own")]
pub struct Render {
    /// `workload`, `workload-instance` or `workload-definition`, or `kind/name`
    kind: String,
    /// The object's name
    name: Option<String>,
    /// Write a workload document that holds the manifest instead of the plain form, to go on from by hand
    #[arg(long)]
    eject: bool,
}

/// Fields of the plain form: what a manifest says instead.
const PLAIN: [&str; 13] = [
    "image",
    "command",
    "args",
    "port",
    "replicas",
    "autoscale",
    "resources",
    "health_path",
    "env",
    "volumes",
    "processes",
    "run_as_user",
    "definition",
];

impl Render {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let (kind, name) = named::one(&client.kinds().await?, &self.kind, self.name.as_deref())?;
        let project = session.project()?;
        if !self.eject {
            let response = client.render(&kind.name, &project, &name).await?;
            return session.terminal.data(manifest(&response).trim_end());
        }
        if kind.name != "workload" {
            bail!(Usage("only a workload has a plain form to eject; render it without --eject".into()));
        }
        let workload = client.get_erased(&kind.name, &project, &name).await?;
        // The children of the plain form are called as it is; its definition has no instance's values in it.
        let definition = client.get_erased("workload-definition", &project, &name).await?;
        let ejected = eject(&workload, &definition)?;
        session.terminal.data(document::to_yaml(&[ejected])?.trim_end())
    }
}

/// The manifests of all instances; each begins with a comment that names it.
fn manifest(response: &RenderResponse) -> String {
    let one = |instance: &threeport::v1::RenderedInstance| {
        let title = instance.object.as_ref().map(view::reference).unwrap_or_default();
        let namespace =
            if instance.namespace.is_empty() { String::new() } else { format!(" in namespace {}", instance.namespace) };
        format!("# {title}{namespace}\n{}", instance.manifest.trim_start_matches("---\n"))
    };
    response.instances.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// The workload with its definition's manifest in place of the plain form.
fn eject(workload: &Object, definition: &Object) -> Result<Object> {
    let mut spec = from_struct(workload.spec.clone().unwrap_or_default());
    let from = from_struct(definition.spec.clone().unwrap_or_default());
    if spec["image"].as_str().is_none_or(str::is_empty) {
        bail!(
            "workload `{}` is not in the plain form; it has a manifest or definition already",
            view::meta(workload).name
        );
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|name, _| !PLAIN.contains(&name.as_str()));
        for name in ["manifest", "inputs"] {
            if !from[name].is_null() {
                fields.insert(name.into(), from[name].clone());
            }
        }
    }
    let meta = view::meta(workload);
    let meta = ObjectMeta {
        project: meta.project,
        name: meta.name,
        labels: meta.labels,
        annotations: meta.annotations,
        shared_with: meta.shared_with,
        ..ObjectMeta::default()
    };
    let spec = if spec.is_null() { json!({}) } else { spec };
    Ok(Object { kind: workload.kind.clone(), meta: Some(meta), spec: Some(to_struct(spec)), status: None })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::view::tests::object;

    #[test]
    fn an_ejected_workload_has_a_manifest_and_keeps_its_instances() {
        let plain = json!({ "image": "nginx", "port": 80, "instances": [{ "name": "eu" }] });
        let workload = object("workload", "web", plain, Value::Null);
        let definition = object("workload-definition", "web", json!({ "manifest": "kind: Deployment\n" }), Value::Null);
        let ejected = eject(&workload, &definition).unwrap();
        let spec = from_struct(ejected.spec.unwrap());
        assert_eq!(spec, json!({ "manifest": "kind: Deployment\n", "instances": [{ "name": "eu" }] }));
        let ejected = object("workload", "web", spec, Value::Null);
        assert!(eject(&ejected, &definition).is_err());
    }
}
