//! The cluster: every live instance has what its rendering says, field by field, and nothing else is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use threeport::render::parse_manifest;
use threeport::v1::RenderRequest;

use super::rest::everywhere;
use crate::book::{Book, Version};
use crate::equality::differences;
use crate::system::Cluster;
use crate::world::World;

/// Everything in a cluster, by `apiVersion kind namespace/name`.
pub type Contents = BTreeMap<String, Value>;

/// These come, go and change by themselves.
const RESTLESS: [&str; 3] = ["ComponentStatus", "Event", "Lease"];

/// Noted with each object: whether one of our managers applied it.
const APPLIED: &str = "applied";

/// Everything in the cluster, without what changes by itself.
pub async fn contents(cluster: &Cluster) -> Contents {
    let groups = cluster.get("/apis").await.unwrap_or_default();
    let groups = groups["groups"].as_array().cloned().unwrap_or_default();
    let versions = groups.iter().map(|group| format!("/apis/{}", text(&group["preferredVersion"]["groupVersion"])));
    let mut contents = Contents::new();
    for version in std::iter::once("/api/v1".to_owned()).chain(versions) {
        let served = cluster.get(&version).await.unwrap_or_default();
        for resource in served["resources"].as_array().into_iter().flatten() {
            let is_listed = resource["verbs"].as_array().is_some_and(|verbs| verbs.contains(&json!("list")));
            let (name, kind) = (text(&resource["name"]), text(&resource["kind"]));
            if !is_listed || RESTLESS.contains(&kind) {
                continue;
            }
            for mut item in cluster.list(&format!("{version}/{name}")).await {
                let (namespace, name) = (text(&item["metadata"]["namespace"]), text(&item["metadata"]["name"]));
                let key = format!("{} {kind} {namespace}/{name}", text(&served["groupVersion"]));
                // Lists say this once for all.
                item["apiVersion"] = served["groupVersion"].clone();
                item["kind"] = resource["kind"].clone();
                item["status"] = Value::Null;
                let managers = item["metadata"]["managedFields"].as_array().into_iter().flatten();
                let is_ours = |entry: &Value| text(&entry["manager"]).starts_with("threeport-");
                item[APPLIED] = Value::from(managers.into_iter().any(is_ours));
                if let Some(meta) = item["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                    meta.remove("managedFields");
                }
                contents.insert(key, item);
            }
        }
    }
    contents
}

/// Nothing came, went or changed.
pub fn nothing_else(before: &Contents, now: &Contents) -> Result<(), String> {
    let keys = before.keys().chain(now.keys()).collect::<BTreeSet<_>>();
    let differing = keys.into_iter().filter(|key| before.get(*key) != now.get(*key)).collect::<Vec<_>>();
    if differing.is_empty() { Ok(()) } else { Err(format!("these came, went or changed: {differing:#?}")) }
}

/// Every live instance's resources are there as rendered, and nothing more carries our label.
pub async fn equals_desired(world: &World, books: &[Book]) {
    let control_plane = world.database.text("SELECT id::text FROM control_plane").await;
    let now = contents(&world.ground.kubernetes.cluster).await;
    let mut wanted = BTreeSet::new();
    for instance in everywhere(&world.apis[0], "workload-instance").await.expect("nothing fails any more") {
        let (project, name) = (text(&instance["meta"]["project"]), text(&instance["meta"]["name"]));
        let request = RenderRequest { kind: "workload-instance".into(), project: project.into(), name: name.into() };
        let rendered = world.apis[0].client.clone().render(request).await.expect("it renders").into_inner();
        for resource in parse_manifest(&rendered.instances[0].manifest).expect("renderings are valid") {
            let key =
                format!("{} {} {}/{}", resource.api_version(), resource.kind(), resource.namespace(), resource.name());
            let found = now.get(&key).unwrap_or_else(|| panic!("{name} lacks {key}"));
            let differences = differences(&resource.value, found);
            assert!(differences.is_empty(), "{name}: {key} differs: {differences:?}");
            wanted.insert(key);
        }
        check_texts(&instance, books, &now);
    }
    let label = |item: &Value| text(&item["metadata"]["labels"]["threeport.io/control-plane"]).to_owned();
    // What controllers of the cluster derive from it carries copied labels.
    let is_own = |item: &Value| label(item) == control_plane && item[APPLIED] == true;
    let labelled = now.iter().filter(|(_, item)| is_own(item)).map(|(key, _)| key.clone()).collect::<BTreeSet<_>>();
    let left = labelled.difference(&wanted).collect::<Vec<_>>();
    assert!(left.is_empty(), "no live instance wants these: {left:#?}");
}

/// What the clients wrote last, by itself: the rendering might be wrong the same way as the cluster.
fn check_texts(instance: &Value, books: &[Book], now: &Contents) {
    let key = ["workload-instance", text(&instance["meta"]["project"]), text(&instance["meta"]["name"])];
    let key = key.map(str::to_owned).into();
    let Some((book, known)) = books.iter().find_map(|book| Some((book, book.present.get(&key)?))) else { return };
    let settings = format!("v1 ConfigMap {}/settings", text(&instance["status"]["namespace"]));
    let data = &now.get(&settings).unwrap_or_else(|| panic!("{settings} is missing"))["data"];
    let greeting = known.spec["values"]["greeting"].as_str().unwrap_or("hello");
    assert_eq!(data["greeting"], greeting, "{settings}");
    let definition = definition_of(book, known);
    let generation = known.spec["definition_generation"].as_str().and_then(|pin| pin.parse().ok());
    let spec = &book.past[&(definition.id.clone(), generation.unwrap_or(definition.generation))];
    let said = format!("\"text\":{}", data["text"]);
    assert!(text(&spec["manifest"]).contains(&said), "{settings} says {said}, its definition {spec}");
}

fn definition_of<'a>(book: &'a Book, instance: &Version) -> &'a Version {
    let name = text(&instance.spec["definition"]);
    let (project, name) = name.split_once('/').unwrap_or(("default", name));
    &book.present[&("workload-definition".to_owned(), project.to_owned(), name.to_owned())]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
