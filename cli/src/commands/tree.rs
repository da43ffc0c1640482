//! `tptctl tree`: what belongs to what and uses what, with health.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;
use threeport::json::from_struct;
use threeport::registry::Registry;
use threeport::v1::{ListObjectsRequest, Object, ObjectReference};
use threeport_sdk::Client;

use crate::session::Session;
use crate::table::Table;
use crate::{named, view};

/// Show objects with what they own and use, down to the resources in clusters
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl tree                  the whole project
  tptctl tree workload web     one application, and who uses it")]
pub struct Tree {
    /// Only below an object of this kind, or below `kind/name`
    kind: Option<String>,
    /// Only below this object
    name: Option<String>,
}

impl Tree {
    pub async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let registry = client.kinds().await?;
        let project = session.project()?;
        let objects = all(&client, &registry, &project).await?;
        let forest = Forest { registry: &registry, objects: &objects };
        let roots: Vec<Node> = match &self.kind {
            Some(kind) => {
                let (kind, name) = named::one(&registry, kind, self.name.as_deref())?;
                match objects.iter().find(|object| object.kind == kind.name && view::meta(object).name == name) {
                    Some(root) => vec![forest.rooted_at(root)],
                    None => bail!("no {} `{name}` in project `{project}`", kind.name),
                }
            }
            None => forest.roots(),
        };
        if roots.is_empty() {
            session.terminal.note(format_args!("project `{project}` is empty"));
            return Ok(());
        }
        session.terminal.data(drawn(&roots, &|cell| session.terminal.paint(cell)))
    }
}

async fn all(client: &Client, registry: &Registry, project: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for kind in registry.kinds().filter(|kind| kind.is_in_project) {
        let request = ListObjectsRequest {
            kind: kind.name.clone(),
            project: project.to_owned(),
            ..ListObjectsRequest::default()
        };
        objects.append(&mut client.list_all_erased(request).await?.items);
    }
    Ok(objects)
}

struct Forest<'a> {
    registry: &'a Registry,
    objects: &'a [Object],
}

#[derive(Debug)]
struct Node {
    title: String,
    health: String,
    reason: String,
    children: Vec<Node>,
}

impl Forest<'_> {
    /// Everything that nothing owns.
    fn roots(&self) -> Vec<Node> {
        let ownerless = self.objects.iter().filter(|object| view::meta(object).owner.is_none());
        ownerless.map(|object| self.node(object)).collect()
    }

    /// One object, and who uses it.
    fn rooted_at(&self, root: &Object) -> Node {
        let mut node = self.node(root);
        for user in self.objects.iter().filter(|user| self.uses(user).iter().any(|used| is(used, root))) {
            node.children.push(leaf(format!("used by {}", view::title(user)), user));
        }
        node
    }

    fn node(&self, object: &Object) -> Node {
        let owned = self.objects.iter().filter(|other| view::meta(other).owner.is_some_and(|owner| is(&owner, object)));
        let mut children: Vec<Node> = owned.map(|child| self.node(child)).collect();
        children.extend(self.uses(object).iter().map(|used| {
            let project =
                if used.project == view::meta(object).project { String::new() } else { format!("{}/", used.project) };
            let title = format!("uses {}/{project}{}", used.kind, used.name);
            match self.objects.iter().find(|other| is(used, other)) {
                Some(used) => leaf(title, used),
                None => Node { title, health: String::new(), reason: String::new(), children: Vec::new() },
            }
        }));
        children.extend(resources(object));
        Node { children, ..leaf(view::title(object), object) }
    }

    /// What the fields of its spec name.
    fn uses(&self, object: &Object) -> Vec<ObjectReference> {
        let Some(kind) = self.registry.get(&object.kind) else { return Vec::new() };
        let spec = object.spec.clone().map(from_struct).unwrap_or_default();
        let mut uses = Vec::new();
        for field in &kind.references {
            field.path.visit(&spec, "", &mut |_, value| {
                let Some(name) = value.as_str().filter(|name| !name.is_empty()) else { return };
                let own = view::meta(object).project;
                let (project, name) = name.split_once('/').unwrap_or((&own, name));
                let reference = ObjectReference {
                    kind: field.kind.clone(),
                    project: project.to_owned(),
                    name: name.to_owned(),
                    id: String::new(),
                };
                if !uses.contains(&reference) {
                    uses.push(reference);
                }
            });
        }
        uses
    }
}

fn is(reference: &ObjectReference, object: &Object) -> bool {
    let meta = view::meta(object);
    reference.kind == object.kind && reference.project == meta.project && reference.name == meta.name
}

fn leaf(title: String, object: &Object) -> Node {
    let json = view::json(object);
    let ready = view::condition(&json, "Ready");
    let word = match json["status"]["health"].as_str().filter(|health| !health.is_empty()) {
        Some(health) => health.to_owned(),
        None => ready.map(|ready| format!("Ready {}", view::text(&ready["status"]))).unwrap_or_default(),
    };
    let reason = ready.filter(|ready| ready["status"] != "True").map(|ready| view::text(&ready["reason"]));
    Node { title, health: word, reason: reason.unwrap_or_default(), children: Vec::new() }
}

/// What an instance runs in its cluster.
fn resources(object: &Object) -> Vec<Node> {
    let status = object.status.clone().map(from_struct).unwrap_or_default();
    let items = status["resources"].as_array().cloned().unwrap_or_default();
    let node = |item: &Value| {
        let resource = &item["resource"];
        Node {
            title: format!("{}/{}", view::text(&resource["kind"]), view::text(&resource["name"])),
            health: view::text(&item["health"]),
            reason: if item["health"] == "Healthy" { String::new() } else { view::text(&item["reason"]) },
            children: Vec::new(),
        }
    };
    items.iter().filter(|item| item["resource"].is_object()).map(node).collect()
}

/// All trees in one table, so that health stands in one column.
fn drawn(roots: &[Node], paint: &dyn Fn(&str) -> String) -> String {
    let mut table = Table::new(["OBJECT", "HEALTH", "REASON"]);
    for root in roots {
        table.row([&root.title, &root.health, &root.reason]);
        draw(&root.children, "", &mut table);
    }
    table.render(paint)
}

fn draw(nodes: &[Node], indent: &str, table: &mut Table) {
    for (index, node) in nodes.iter().enumerate() {
        let is_last = index + 1 == nodes.len();
        let branch = if is_last { "└─ " } else { "├─ " };
        table.row([&format!("{indent}{branch}{}", node.title), &node.health, &node.reason]);
        draw(&node.children, &format!("{indent}{}", if is_last { "   " } else { "│  " }), table);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::tests::object;

    fn application() -> Vec<Object> {
        let owned_by = |mut child: Object, kind: &str, name: &str| {
            let owner =
                ObjectReference { kind: kind.into(), project: "default".into(), name: name.into(), id: String::new() };
            child.meta.as_mut().unwrap().owner = Some(owner);
            child
        };
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "Connected" }] });
        let instance = json!({ "health": "Reconciling",
            "conditions": [{ "type": "Ready", "status": "False", "reason": "RolloutInProgress" }],
            "resources": [{ "resource": { "kind": "Deployment", "name": "web" }, "health": "Reconciling", "reason": "RolloutInProgress" },
                          { "resource": { "kind": "Service", "name": "web" }, "health": "Healthy" }] });
        vec![
            object("kubernetes-runtime-instance", "sandbox", json!({}), ready),
            object("workload", "web", json!({ "image": "nginx" }), json!({ "health": "Reconciling" })),
            owned_by(object("workload-definition", "web", json!({}), Value::Null), "workload", "web"),
            owned_by(
                object("workload-instance", "web-eu", json!({ "definition": "web", "runtime": "shared/eu" }), instance),
                "workload",
                "web",
            ),
        ]
    }

    #[test]
    fn owned_objects_stand_below_their_owner_with_what_they_use_and_run() {
        let objects = application();
        let forest = Forest { registry: Registry::built_in(), objects: &objects };
        insta::assert_snapshot!(drawn(&forest.roots(), &str::to_owned), @r"
        OBJECT                                             HEALTH        REASON
        kubernetes-runtime-instance/sandbox                Ready True    -
        workload/web                                       Reconciling   -
        ├─ workload-definition/web                         -             -
        └─ workload-instance/web-eu                        Reconciling   RolloutInProgress
           ├─ uses workload-definition/web                 -             -
           ├─ uses kubernetes-runtime-instance/shared/eu   -             -
           ├─ Deployment/web                               Reconciling   RolloutInProgress
           └─ Service/web                                  Healthy       -
        ");
    }

    #[test]
    fn an_object_asked_for_shows_its_users() {
        let objects = application();
        let forest = Forest { registry: Registry::built_in(), objects: &objects };
        insta::assert_snapshot!(drawn(&[forest.rooted_at(&objects[2])], &str::to_owned), @r"
        OBJECT                                HEALTH        REASON
        workload-definition/web               -             -
        └─ used by workload-instance/web-eu   Reconciling   RolloutInProgress
        ");
    }
}
