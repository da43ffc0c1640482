//! Apply, create, update: all or nothing, unchanged means untouched, nobody's write is lost.

use api_server::error::Error;
use api_server::store::WriteOptions;
use futures::future::join_all;
use serde_json::json;
use threeport::json::from_struct;
use threeport::v1::ApplyRequest;

use crate::fixture::{Fixture, cause, definition, instance, manifest, meta, object, outcomes, project, runtime};

#[tokio::test]
async fn objects_may_come_in_any_order_and_refer_to_each_other() {
    let fixture = Fixture::new().await;
    let objects = [instance("web-1", "web"), runtime("local"), definition("web")];
    assert_eq!(outcomes(&fixture.apply(&objects).await.unwrap()), ["created", "created", "created"]);
    let commits = fixture.count("SELECT count(*) FROM commits").await;
    assert_eq!(outcomes(&fixture.apply(&objects).await.unwrap()), ["unchanged", "unchanged", "unchanged"]);
    assert_eq!(fixture.count("SELECT count(*) FROM commits").await, commits, "unchanged writes nothing");
    let stored = fixture.store.get("instance", "default", "web-1").await.unwrap();
    assert_eq!((meta(&stored).revision, meta(&stored).generation), (1, 1));
}

#[tokio::test]
async fn one_invalid_object_among_ten_stores_nothing_and_all_violations_are_listed() {
    let fixture = Fixture::new().await;
    let mut objects = (0..8).map(|n| definition(&format!("web-{n}"))).collect::<Vec<_>>();
    objects.push(object("workload", "default", "bad", json!({ "imge": "nginx", "replicas": "many" })));
    objects.push(instance("lost", "nowhere"));
    let Err(Error::Invalid(violations)) = fixture.apply(&objects).await else { panic!("stored") };
    let fields = violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>();
    for field in
        ["objects[8].spec.imge", "objects[8].spec.replicas", "objects[9].spec.definition", "objects[9].spec.runtime"]
    {
        assert!(fields.contains(&field), "{field} is missing: {fields:?}");
    }
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind <> 'project'").await, 0);
}

#[tokio::test]
async fn zero_stays_zero_and_a_mask_changes_one_field() {
    let fixture = Fixture::new().await;
    let workload = object("workload", "default", "web", json!({ "image": "nginx", "replicas": 0 }));
    fixture.apply(&[runtime("local")]).await.unwrap();
    let mut home = project("default");
    home.spec = Some(threeport::json::to_struct(json!({ "default_runtime": "local" })));
    fixture.apply(&[home, workload]).await.unwrap();
    let stored = fixture.store.get("workload", "default", "web").await.unwrap();
    assert_eq!(from_struct(stored.spec.unwrap())["replicas"], 0);
    let change = object("workload", "default", "web", json!({ "env": { "A": "1" }, "image": "ignored" }));
    let mask = ["spec.env.A".to_owned()];
    let after = fixture.store.update(change, &mask, WriteOptions::default(), &cause()).await.unwrap();
    let spec = from_struct(after.spec.clone().unwrap());
    assert_eq!((&spec["env"]["A"], &spec["image"], &spec["replicas"]), (&json!("1"), &json!("nginx"), &json!(0)));
    assert_eq!(meta(&after).generation, 2);
    let change = object("workload", "default", "web", json!({}));
    let nothing = ["spec.nothing".to_owned()];
    let updated = fixture.store.update(change, &nothing, WriteOptions::default(), &cause()).await;
    let Err(Error::Invalid(violations)) = updated else { panic!("{updated:?}") };
    assert_eq!(violations[0].field, "update_mask");
}

#[tokio::test]
async fn labels_are_meta_and_a_stale_write_is_refused() {
    let fixture = Fixture::new().await;
    fixture.apply(&[definition("web")]).await.unwrap();
    let mut labelled = definition("web");
    labelled.meta.as_mut().unwrap().labels.insert("tier".into(), "dev".into());
    let response = fixture.apply(&[labelled.clone()]).await.unwrap();
    let after = response.results[0].object.clone().unwrap();
    assert_eq!((meta(&after).revision, meta(&after).generation), (2, 1));
    assert_eq!(response.results[0].differences[0].path, "meta.labels.tier");
    labelled.meta.as_mut().unwrap().revision = 1;
    assert!(matches!(fixture.apply(&[labelled.clone()]).await, Err(Error::Stale { .. })));
    let created = fixture.store.create(labelled, WriteOptions::default(), &cause()).await;
    assert!(matches!(created, Err(Error::AlreadyExists { .. })));
}

#[tokio::test]
async fn a_validation_changes_nothing_and_tells_all() {
    let fixture = Fixture::new().await;
    let request = ApplyRequest { objects: vec![definition("web")], validate_only: true, ..Default::default() };
    let response = fixture.store.apply(request, &cause()).await.unwrap();
    assert_eq!(response.results[0].outcome, "created");
    assert!(response.results[0].differences.iter().any(|difference| difference.path == "spec.manifest"));
    assert_eq!(fixture.count("SELECT count(*) FROM objects WHERE kind <> 'project'").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM commits").await, 0);
}

#[tokio::test]
async fn writers_of_one_object_all_succeed_and_the_log_has_their_order() {
    let fixture = Fixture::new().await;
    fixture.apply(&[definition("web")]).await.unwrap();
    let writes = (0..16).map(|n| {
        let manifest = manifest(&format!("nginx:{}", n + 2));
        let object = object("workload-definition", "default", "web", json!({ "manifest": manifest }));
        let fixture = &fixture;
        async move { fixture.apply(&[object]).await }
    });
    for outcome in join_all(writes).await {
        outcome.unwrap();
    }
    let stored = fixture.store.get("definition", "default", "web").await.unwrap();
    assert_eq!(meta(&stored).revision, 17);
    let disorder = "SELECT count(*) FROM (SELECT (meta ->> 'revision')::bigint - lag((meta ->> 'revision')::bigint)
                    OVER (ORDER BY commit_id) AS step FROM changes WHERE name = 'web' AND type = 'spec') s WHERE step <> 1";
    assert_eq!(fixture.count(disorder).await, 0);
}

#[tokio::test]
async fn a_request_id_repeats_the_answer_and_not_the_work() {
    let fixture = Fixture::new().await;
    let request = ApplyRequest { objects: vec![definition("web")], request_id: "once".into(), ..Default::default() };
    let cause = cause();
    let requests = (0..4).map(|_| fixture.store.apply(request.clone(), &cause));
    for answer in join_all(requests).await {
        assert_eq!(answer.unwrap().results[0].outcome, "created");
    }
    assert_eq!(fixture.count("SELECT count(*) FROM commits").await, 1);
    let other = ApplyRequest { objects: vec![definition("other")], ..request };
    assert!(matches!(fixture.store.apply(other, &cause).await, Err(Error::RequestIdReused(_))));
}

#[tokio::test]
async fn a_pinned_generation_lives_with_its_pin() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local"), definition("web")]).await.unwrap();
    let pinned = |generation: &str| {
        let spec = json!({ "definition": "web", "runtime": "local", "definition_generation": generation });
        object("workload-instance", "default", "web-1", spec)
    };
    fixture.apply(&[pinned("1")]).await.unwrap();
    let next = object("workload-definition", "default", "web", json!({ "manifest": manifest("nginx:2") }));
    fixture.apply(&[next]).await.unwrap();
    assert_eq!(fixture.count("SELECT generation FROM pinned_generations").await, 1);
    let mut wrong = instance("web-1", "web");
    let spec =
        json!({ "definition": "web", "runtime": "local", "definition_generation": "1", "values": { "size": 1 } });
    wrong.spec = Some(threeport::json::to_struct(spec));
    let Err(Error::Invalid(violations)) = fixture.apply(&[wrong]).await else { panic!("an unknown value was stored") };
    assert_eq!(violations[0].field, "spec.values.size");
    let Err(Error::Invalid(violations)) = fixture.apply(&[pinned("7")]).await else { panic!("pinned") };
    assert_eq!(violations[0].field, "spec.definition_generation");
    fixture.apply(&[pinned("2")]).await.unwrap();
    assert_eq!(fixture.count("SELECT generation FROM pinned_generations").await, 2);
    fixture.apply(&[pinned("1")]).await.expect("the log still has it");
    fixture.apply(&[instance("web-1", "web")]).await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM pinned_generations").await, 0);
}
