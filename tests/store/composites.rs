//! Composites: one object to write, several to run.

use api_server::error::Error;
use serde_json::json;
use threeport::v1::{Object, RenderRequest};

use crate::fixture::{Fixture, instance, object, outcomes, runtime};

fn workload(instances: &[&str]) -> Object {
    let instances = instances.iter().map(|name| json!({ "name": name, "runtime": "local" })).collect::<Vec<_>>();
    object("workload", "default", "web", json!({ "image": "nginx:1", "instances": instances }))
}

#[tokio::test]
async fn children_are_written_changed_and_deleted_with_their_owner() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local")]).await.unwrap();
    let response = fixture.apply(&[workload(&["a", "b"])]).await.unwrap();
    let children = &response.results[0].children;
    assert_eq!(children.iter().map(|child| child.outcome.as_str()).collect::<Vec<_>>(), ["created"; 3]);
    assert_eq!(outcomes(&fixture.apply(&[workload(&["a", "b"])]).await.unwrap()), ["unchanged"]);
    fixture.reconcile().await;
    let response = fixture.apply(&[workload(&["a"])]).await.unwrap();
    let gone = response.results[0].children.iter().find(|child| child.outcome == "deleted").unwrap();
    assert_eq!(gone.object.as_ref().unwrap().meta.as_ref().unwrap().name, "web-b");
    let owned = fixture.delete("instance", "web-a").await;
    assert!(matches!(owned, Err(Error::Owned { .. })), "{owned:?}");
    let owned = fixture.apply(&[instance("web-a", "web")]).await;
    assert!(matches!(owned, Err(Error::Owned { .. })), "{owned:?}");
    fixture.reconcile().await;
    fixture.delete("workload", "web").await.unwrap();
    fixture.reconcile().await;
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind LIKE 'workload%'").await, 0);
}

#[tokio::test]
async fn a_new_composite_is_looked_at_when_its_children_have_spoken() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local")]).await.unwrap();
    fixture.reconcile().await;
    fixture.apply(&[workload(&["a"])]).await.unwrap();
    let due = "SELECT count(*) FROM work WHERE due_at <= now()";
    assert_eq!(fixture.count(due).await, 1, "the instance alone");
    let later =
        "SELECT count(*) FROM work WHERE kind = 'workload' AND due_at BETWEEN now() AND now() + interval '1 minute'";
    assert_eq!(fixture.count(later).await, 1, "however long they are silent");
    fixture.reconcile().await;
    assert_eq!(fixture.count("SELECT count(*) FROM work WHERE done <> wanted").await, 0);
}

#[tokio::test]
async fn a_child_that_is_somebody_elses_is_refused() {
    let fixture = Fixture::new().await;
    let other = crate::fixture::definition("other");
    fixture.apply(&[runtime("local"), other, instance("web-a", "other")]).await.unwrap();
    let Err(Error::Invalid(violations)) = fixture.apply(&[workload(&["a"])]).await else { panic!("taken over") };
    assert_eq!(violations[0].field, "spec.instances[0]");
    assert!(violations[0].description.contains("workload-instance `web-a` exists"), "{}", violations[0]);
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind = 'workload'").await, 0);
}

#[tokio::test]
async fn every_instance_is_rendered() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local"), workload(&["a", "b"])]).await.unwrap();
    let request = RenderRequest { kind: "workload".into(), project: "default".into(), name: "web".into() };
    let rendered = fixture.store.render(request).await.unwrap();
    assert_eq!(rendered.instances.len(), 2);
    assert!(rendered.instances[0].manifest.contains("kind: Deployment"), "{}", rendered.instances[0].manifest);
    assert_ne!(rendered.instances[0].namespace, rendered.instances[1].namespace);
}
