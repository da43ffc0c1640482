//! Deletion: refused while used, ordered, proved; nothing is left but history and tombstones.

use api_server::error::Error;
use futures::future::join;
use serde_json::json;
use threeport::v1::{DeleteManyRequest, EventsRequest, ObjectReference};

use crate::fixture::{Fixture, cause, definition, deletion, instance, manifest, meta, object, project, runtime};

#[tokio::test]
async fn what_is_used_is_refused_with_all_its_users() {
    let fixture = Fixture::new().await;
    let objects = [runtime("local"), definition("web"), instance("web-1", "web"), instance("web-2", "web")];
    fixture.apply(&objects).await.unwrap();
    for (kind, name) in [("workload-definition", "web"), ("runtime", "local")] {
        let Err(Error::InUse { users, .. }) = fixture.delete(kind, name).await else { panic!("deleted") };
        assert_eq!(users, ["workload-instance `default/web-1`", "workload-instance `default/web-2`"]);
    }
    let Err(Error::InUse { users, .. }) = fixture.delete("project", "default").await else { panic!("deleted") };
    assert_eq!(users.len(), 4);
}

#[tokio::test]
async fn a_deleting_object_goes_when_its_users_have_gone() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local"), definition("web"), instance("web-1", "web")]).await.unwrap();
    fixture.reconcile().await;
    fixture.delete("instance", "web-1").await.unwrap();
    fixture.delete("definition", "web").await.unwrap();
    fixture.delete("runtime", "local").await.unwrap();
    let written = fixture.apply(&[instance("web-1", "web")]).await;
    assert!(matches!(written, Err(Error::BeingDeleted { .. })), "{written:?}");
    let web = ObjectReference {
        kind: "workload-instance".into(),
        project: "default".into(),
        name: "web-1".into(),
        ..Default::default()
    };
    assert!(!fixture.store.wait_state(std::slice::from_ref(&web), true).await.unwrap().done);
    fixture.reconcile().await;
    assert!(fixture.store.wait_state(&[web], true).await.unwrap().succeeded);
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind <> 'project'").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM tombstones").await, 3);
}

#[tokio::test]
async fn a_delete_that_races_a_create_leaves_no_dangling_reference() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local")]).await.unwrap();
    for round in 0..20 {
        let (web, user) = (format!("web-{round}"), format!("user-{round}"));
        fixture.apply(&[definition(&web)]).await.unwrap();
        let objects = [instance(&user, &web)];
        let (deleted, created) = join(fixture.delete("definition", &web), fixture.apply(&objects)).await;
        assert_ne!(deleted.is_ok(), created.is_ok(), "round {round}: {deleted:?}, {created:?}");
    }
}

#[tokio::test]
async fn a_project_is_deleted_only_when_empty() {
    let fixture = Fixture::new().await;
    let manifest = json!({ "manifest": manifest("nginx:1") });
    let objects = [object("workload-definition", "shop", "web", manifest), project("shop"), project("empty")];
    fixture.apply(&objects).await.unwrap();
    let Err(Error::InUse { users, .. }) = fixture.delete("project", "shop").await else { panic!("deleted") };
    assert_eq!(users, ["workload-definition `shop/web`"]);
    fixture.delete("project", "empty").await.unwrap();
    let homeless = object("workload", "empty", "web", json!({ "image": "nginx" }));
    assert!(matches!(fixture.apply(&[homeless]).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn what_goes_together_blocks_nothing_and_a_project_goes_last() {
    let fixture = Fixture::new().await;
    let spec = json!({ "endpoint": "https://10.0.0.1:6443", "token": "hunter2-token" });
    let manifest = json!({ "manifest": manifest("nginx:1") });
    let objects = [
        object("project", "", "shop", json!({ "default_runtime": "shop/local" })),
        object("kubernetes-runtime-instance", "shop", "local", spec),
        object("workload-definition", "shop", "web", manifest),
        object("workload-instance", "shop", "web-1", json!({ "definition": "web" })),
    ];
    fixture.apply(&objects).await.unwrap();
    let references = objects.iter().map(|object| ObjectReference {
        kind: object.kind.clone(),
        project: meta(object).project.clone(),
        name: meta(object).name.clone(),
        ..Default::default()
    });
    let mut request = DeleteManyRequest { objects: references.collect(), ..Default::default() };

    // Without the instance the others are in use, and none of them goes.
    let last = request.objects.pop().unwrap();
    let refused = fixture.store.delete_many(request.clone(), &cause()).await;
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    request.objects.push(last);
    request.validate_only = true;
    assert_eq!(fixture.store.delete_many(request.clone(), &cause()).await.unwrap().deleted.len(), 4);
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE deleted_at IS NOT NULL").await, 0);

    request.validate_only = false;
    assert_eq!(fixture.store.delete_many(request, &cause()).await.unwrap().deleted.len(), 4);
    let homeless = object("workload", "shop", "late", json!({ "image": "nginx" }));
    assert!(fixture.apply(&[homeless]).await.is_err(), "a project that goes takes nothing in");
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE name = 'shop'").await, 1, "it goes last");
    fixture.reconcile().await;
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE name <> 'default'").await, 0);
}

#[tokio::test]
async fn a_home_and_all_in_it_can_be_given_up_together() {
    let fixture = Fixture::new().await;
    let spec = json!({ "endpoint": "https://10.0.0.1:6443", "token": "hunter2-token" });
    let objects = [
        object("project", "", "shop", json!({ "default_runtime": "shop/local" })),
        object("kubernetes-runtime-instance", "shop", "local", spec),
    ];
    fixture.apply(&objects).await.unwrap();
    let local =
        ObjectReference { kind: "runtime".into(), project: "shop".into(), name: "local".into(), ..Default::default() };
    let shop = ObjectReference { kind: "project".into(), name: "shop".into(), ..Default::default() };
    let request = DeleteManyRequest { objects: vec![shop, local], orphan: true, ..Default::default() };
    fixture.store.delete_many(request, &cause()).await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE name <> 'default'").await, 0);
}

#[tokio::test]
async fn what_is_not_there_stops_a_deletion_unless_it_may_be_missing() {
    let fixture = Fixture::new().await;
    fixture.apply(&[definition("web")]).await.unwrap();
    let named = |name: &str| ObjectReference {
        kind: "workload-definition".into(),
        project: "default".into(),
        name: name.into(),
        ..Default::default()
    };
    let objects = vec![named("web"), named("gone"), named("lost")];
    let mut request = DeleteManyRequest { objects, ..Default::default() };
    let refused = fixture.store.delete_many(request.clone(), &cause()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "not found: workload-definition `default/gone`, workload-definition `default/lost`"
    );
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE name = 'web'").await, 1);
    request.ignore_not_found = true;
    let answer = fixture.store.delete_many(request, &cause()).await.unwrap();
    assert_eq!((answer.deleted.len(), answer.not_found.len()), (1, 2));
}

#[tokio::test]
async fn an_attachment_goes_when_its_target_has_looked() {
    let fixture = Fixture::new().await;
    let attachment =
        object("attachment", "default", "extra", json!({ "workload_instance": "web-1", "env": { "A": "1" } }));
    let objects = [runtime("local"), definition("web"), instance("web-1", "web"), attachment];
    fixture.apply(&objects).await.unwrap();
    fixture.reconcile().await;
    fixture.delete("attachment", "extra").await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind = 'attachment'").await, 1);
    fixture.reconcile().await;
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind = 'attachment'").await, 0);
    assert!(fixture.store.get("instance", "default", "web-1").await.is_ok());
}

#[tokio::test]
async fn a_cleanup_that_gave_up_is_tried_again_when_asked() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local")]).await.unwrap();
    fixture.delete("runtime", "local").await.unwrap();
    fixture.sql().await.execute("UPDATE work SET gave_up = true, due_at = NULL, done = wanted", &[]).await.unwrap();
    fixture.delete("runtime", "local").await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM work WHERE due_at <= now() AND NOT gave_up").await, 1);
}

#[tokio::test]
async fn orphaning_leaves_a_receipt_and_no_tombstone() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local"), definition("web"), instance("web-1", "web")]).await.unwrap();
    fixture
        .sql()
        .await
        .batch_execute(
            "INSERT INTO inventory (instance_id, runtime_id, api_version, kind, namespace, name, retained)
             SELECT i.id, r.id, 'v1', 'PersistentVolumeClaim', 'web', 'data', true FROM objects i, objects r
             WHERE i.name = 'web-1' AND r.name = 'local';
             INSERT INTO inventory (instance_id, runtime_id, api_version, kind, namespace, name, retained)
             SELECT i.id, r.id, 'v1', 'ConfigMap', 'web', 'settings', false FROM objects i, objects r
             WHERE i.name = 'web-1' AND r.name = 'local';
             INSERT INTO shared_resources (runtime_id, kind, name, made_by_us, project)
             SELECT id, 'Namespace', 'web', true, 'default' FROM objects WHERE name = 'local';
             INSERT INTO shared_resource_users (runtime_id, kind, name, instance_id)
             SELECT r.id, 'Namespace', 'web', i.id FROM objects i, objects r
             WHERE i.name = 'web-1' AND r.name = 'local'",
        )
        .await
        .unwrap();
    let mut request = deletion("workload-instance", "web-1");
    request.validate_only = true;
    let response = fixture.store.delete(request.clone(), &cause()).await.unwrap();
    assert_eq!(response.retained[0].resource.as_ref().unwrap().name, "data");
    assert_eq!(response.retained[0].runtime, "default/local");
    (request.validate_only, request.orphan) = (false, true);
    let response = fixture.store.delete(request, &cause()).await.unwrap();
    assert_eq!(response.retained.len(), 2, "what isn't marked stays too: nobody looks for it");
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE name = 'web-1'").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM tombstones").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM shared_resources").await, 0, "anyone may have the namespace");
    let receipt = "SELECT jsonb_array_length(left_behind -> 'resources')::bigint FROM receipts";
    assert_eq!(fixture.count(receipt).await, 2);
    let request = EventsRequest { kind: "workload-instance".into(), name: "web-1".into(), ..Default::default() };
    let events = fixture.store.events(request).await.unwrap().events;
    assert_eq!(events[0].reason, "Orphaned");
    assert!(events[0].note.contains("ConfigMap `web/settings` on default/local"), "{events:?}");
}

#[tokio::test]
async fn a_cascade_takes_users_with_their_owners_and_no_project() {
    let fixture = Fixture::new().await;
    let shop = object("workload", "default", "shop", json!({ "definition": "web" }));
    let default = object("project", "", "default", json!({ "default_runtime": "default/local" }));
    let objects = [runtime("local"), definition("web"), instance("web-1", "web"), definition("other")];
    fixture.apply(&objects).await.unwrap();
    fixture.apply(&[default]).await.unwrap();
    fixture.apply(&[shop]).await.unwrap();
    let named = |name: &str, kind: &str| ObjectReference {
        kind: kind.into(),
        project: "default".into(),
        name: name.into(),
        id: String::new(),
    };
    let mut request = DeleteManyRequest {
        objects: vec![named("web", "workload-definition")],
        cascade: true,
        validate_only: true,
        ..Default::default()
    };
    let planned = fixture.store.delete_many(request.clone(), &cause()).await.unwrap();
    let mut names = planned.deleted.iter().map(|one| one.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    assert_eq!(names, ["shop", "shop-default", "web", "web-1"]);

    // Whoever joins after the list was shown is no part of what was agreed to.
    fixture.apply(&[instance("web-2", "web")]).await.unwrap();
    let agreed = DeleteManyRequest { objects: planned.deleted, ..Default::default() };
    let Err(Error::InUse { users, .. }) = fixture.store.delete_many(agreed, &cause()).await else { panic!("deleted") };
    assert_eq!(users, ["workload-instance `default/web-2`"]);
    request.validate_only = false;
    fixture.store.delete_many(request, &cause()).await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE deleted_at IS NULL AND name LIKE 'web%'").await, 0);

    let request = DeleteManyRequest {
        objects: vec![named("local", "kubernetes-runtime-instance")],
        cascade: true,
        ..Default::default()
    };
    let Err(Error::InUse { users, .. }) = fixture.store.delete_many(request, &cause()).await else { panic!("deleted") };
    assert_eq!(users, ["project `default`"]);
}
