//! `tptctl describe`: one object with all that explains its state.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use threeport::json::{from_struct, to_struct};
use threeport::object::Object as _;
use threeport::v1::{Event, EventsRequest, KubernetesRuntimeInstance, Object};
use threeport_sdk::document;

use super::up;
use crate::age::since;
use crate::local::instance::Instance;
use crate::local::sandbox;
use crate::named;
use crate::session::Session;
use crate::table::Table;
use crate::view;

const EVENTS_SHOWN: i32 = 15;
const LINES_SHOWN: usize = 8;

/// Show one object with its conditions, resources and recent events
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl describe workload web
  tptctl describe runtime sandbox")]
pub struct Describe {
    /// The kind, or `kind/name`
    kind: String,
    /// The object's name
    name: Option<String>,
}

impl Describe {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let (kind, name) = named::one(&client.kinds().await?, &self.kind, self.name.as_deref())?;
        let project = session.project_of(&kind)?;
        let object = client.get_erased(&kind.name, &project, &name).await?;
        let request = EventsRequest {
            project,
            kind: kind.name.clone(),
            name,
            page_size: EVENTS_SHOWN,
            page_token: String::new(),
        };
        let events = client.events(request).await?.events;
        let terminal = &session.terminal;
        terminal.data(description(&object, &events, &|cell| terminal.paint(cell))?.trim_end())?;
        if let Some(line) = kubectl_line(session, &object)? {
            terminal.data(format_args!("\nKubectl:\n  {line}"))?;
        }
        Ok(())
    }
}

/// How to look into the runtime, if it is the sandbox of the control plane that the context is of.
fn kubectl_line(session: &Session, object: &Object) -> Result<Option<String>> {
    let meta = view::meta(object);
    if object.kind != KubernetesRuntimeInstance::KIND || meta.project != "default" || meta.name != up::SANDBOX {
        return Ok(None);
    }
    let server = session.context()?.server;
    let is_its = |plane: &Instance| {
        plane.settings().is_ok_and(|settings| settings.sandbox && settings.server().is_ok_and(|own| own == server))
    };
    let plane = Instance::all()?.into_iter().find(is_its);
    plane.map(|plane| sandbox::kubectl_line(&plane.sandbox_directory())).transpose()
}

fn description(object: &Object, events: &[Event], paint: &dyn Fn(&str) -> String) -> Result<String> {
    let mut text = document::to_yaml(&[shortened(object)])?;
    let meta = view::meta(object);
    let status = object.status.clone().map(from_struct).unwrap_or_default();
    writeln!(text)?;
    let facts = [
        ("Generation", meta.generation.to_string()),
        ("Revision", meta.revision.to_string()),
        ("Created", since(meta.created_at.as_ref())),
        ("Owner", meta.owner.as_ref().map(view::reference).unwrap_or_default()),
        ("Deleting", meta.deleted_at.as_ref().map(|at| format!("for {}", since(Some(at)))).unwrap_or_default()),
        ("Settled", if meta.settled { "yes".into() } else { "no: work is under way".into() }),
    ];
    for (title, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(text, "{title:<12}{value}")?;
    }
    for (name, value) in status.as_object().into_iter().flatten() {
        if !value.is_array() && !value.is_object() && name != "observed_generation" {
            writeln!(text, "{:<12}{}", heading(name), paint(&view::text(value)))?;
        }
    }
    section(&mut text, "Conditions", &conditions(&status), paint)?;
    section(&mut text, "Resources", &resources(&status), paint)?;
    section(&mut text, "Instances", &instances(&status), paint)?;
    section(&mut text, "Events", &events_table(events), paint)?;
    Ok(text)
}

/// The object with long texts, such as manifests, told by their length.
fn shortened(object: &Object) -> Object {
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) if text.lines().count() > LINES_SHOWN => {
                *value = format!("({} lines, shown by `tptctl get -o yaml`)", text.lines().count()).into();
            }
            Value::Array(items) => items.iter_mut().for_each(shorten),
            Value::Object(fields) => fields.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let mut spec = from_struct(object.spec.clone().unwrap_or_default());
    shorten(&mut spec);
    Object { spec: Some(to_struct(spec)), ..object.clone() }
}

/// `Kubernetes version` of `kubernetes_version`.
fn heading(field: &str) -> String {
    let words = field.replace('_', " ");
    let mut letters = words.chars();
    let heading: String = letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect();
    if heading.len() < 12 { heading } else { format!("{heading}  ") }
}

fn section(text: &mut String, title: &str, table: &Table, paint: &dyn Fn(&str) -> String) -> Result<()> {
    if !table.is_empty() {
        write!(text, "\n{title}:\n")?;
        for line in table.render(paint).lines() {
            writeln!(text, "  {line}")?;
        }
    }
    Ok(())
}

fn rows<'a>(status: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    status[field].as_array().into_iter().flatten()
}

fn conditions(status: &Value) -> Table {
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "MESSAGE"]);
    for condition in rows(status, "conditions") {
        table.row(["type", "status", "reason", "message"].map(|field| view::text(&condition[field])));
    }
    table
}

fn resources(status: &Value) -> Table {
    let mut table = Table::new(["RESOURCE", "NAMESPACE", "HEALTH", "REASON", "MESSAGE"]);
    for item in rows(status, "resources") {
        // A definition lists references, an instance their health as well.
        let resource = if item["resource"].is_object() { &item["resource"] } else { item };
        let title = format!("{}/{}", view::text(&resource["kind"]), view::text(&resource["name"]));
        let [health, reason, message] = ["health", "reason", "message"].map(|field| view::text(&item[field]));
        table.row([title, view::text(&resource["namespace"]), health, reason, message]);
    }
    table
}

fn instances(status: &Value) -> Table {
    let mut table = Table::new(["NAME", "INSTANCE", "RUNTIME", "NAMESPACE", "HEALTH", "REASON"]);
    for instance in rows(status, "instances") {
        let fields = ["name", "instance", "runtime", "namespace", "health", "reason"];
        table.row(fields.map(|field| view::text(&instance[field])));
    }
    table
}

/// Events, newest first.
pub fn events_table(events: &[Event]) -> Table {
    let mut table = Table::new(["LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "NOTE"]);
    for event in events {
        table.row([
            since(event.last_seen_at.as_ref()),
            event.r#type.clone(),
            event.reason.clone(),
            event.about.as_ref().map(view::reference).unwrap_or_default(),
            event.count.to_string(),
            event.note.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::v1::ObjectReference;

    use super::*;
    use crate::view::tests::object;

    #[test]
    fn what_explains_the_state_is_shown() {
        let status = json!({ "observed_generation": "3", "health": "Reconciling", "namespace": "web-0123456789",
            "conditions": [{ "type": "Ready", "status": "False", "reason": "RolloutInProgress", "message": "1 of 2 pods are up" }],
            "resources": [{ "resource": { "api_version": "apps/v1", "kind": "Deployment", "namespace": "web-0123456789", "name": "web" },
                "health": "Reconciling", "reason": "RolloutInProgress", "message": "" }] });
        let about = ObjectReference { kind: "workload-instance".into(), name: "web-eu".into(), ..Default::default() };
        let event = Event {
            about: Some(about),
            r#type: "Normal".into(),
            reason: "Applied".into(),
            note: "3 resources".into(),
            count: 2,
            ..Event::default()
        };
        let object =
            object("workload-instance", "web-eu", json!({ "definition": "web", "runtime": "sandbox" }), status);
        insta::assert_snapshot!(description(&object, &[event], &str::to_owned).unwrap(), @r"
        version: v1
        kind: workload-instance
        project: default
        name: web-eu
        spec:
          definition: web
          runtime: sandbox

        Generation  3
        Revision    0
        Created     -
        Settled     yes
        Health      Reconciling
        Namespace   web-0123456789

        Conditions:
          TYPE    STATUS   REASON              MESSAGE
          Ready   False    RolloutInProgress   1 of 2 pods are up

        Resources:
          RESOURCE         NAMESPACE        HEALTH        REASON              MESSAGE
          Deployment/web   web-0123456789   Reconciling   RolloutInProgress   -

        Events:
          LAST SEEN   TYPE     REASON    OBJECT                     COUNT   NOTE
          -           Normal   Applied   workload-instance/web-eu   2       3 resources
        ");
    }
}
