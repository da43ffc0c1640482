//! Retention drops old status changes and tells watchers so; history stays.

use std::time::Duration;

use api_server::store::retention::Retention;
use serde_json::json;
use threeport::json::to_struct;
use threeport::v1::{FinishItem, WatchRequest};

use crate::fixture::{World, edit, ended, follow};

#[tokio::test(flavor = "multi_thread")]
async fn old_status_changes_go_and_watchers_are_told() {
    let world = World::new().await;
    let process = world.process(None);
    let id = world.create("workload", "web", &[]).await;
    let replica = world.replica().await;
    let begun = world.begin(replica, id).await;
    let status = Some(to_struct(json!({ "health": "Healthy" })));
    world.finish(replica, id, &begun, FinishItem { status, ..ended("done") }).await;
    edit(&world.store, &[id], json!({ "image": "nginx" })).await;
    let watch = |from_position| WatchRequest { from_position, ..Default::default() };
    assert_eq!(follow(&process.store, watch(1), |seen| seen.len() == 2).await.len(), 2);
    let sql = world.sql().await;
    sql.execute("UPDATE commits SET at = now() - interval '2 hours' WHERE id < (SELECT max(id) FROM commits)", &[])
        .await
        .unwrap();
    world.store.enforce(&Retention::default()).await.unwrap();
    let counts = sql
        .query_one("SELECT (SELECT count(*) FROM commits), (SELECT count(*) FROM changes WHERE type = 'status')", &[])
        .await
        .unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1)), (2, 0), "the creation is history");
    let error = process.store.watch(watch(1)).await.err().unwrap();
    assert_eq!(error.to_string(), "position 1 is older than the log keeps (first: 3); list again and watch from there");
    assert_eq!(follow(&process.store, watch(2), |seen| seen.len() == 1).await[0].position, 3);
    let all = Retention { history: Some(Duration::ZERO), status: Duration::ZERO, ..Retention::default() };
    world.store.enforce(&all).await.unwrap();
    assert_eq!(sql.query_one("SELECT count(*) FROM commits", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_outlive_whoever_may_be_late_and_receipts_are_history() {
    let world = World::new().await;
    let sql = world.sql().await;
    let tombstones = "INSERT INTO tombstones (object_id, kind, project, name, deleted_at)
                      SELECT gen_random_uuid(), 'workload', 'p', 'days-' || days, now() - days * interval '1 day'
                      FROM UNNEST(ARRAY[0, 29, 31]) days";
    sql.execute(tombstones, &[]).await.unwrap();
    let receipts = "INSERT INTO receipts (object_id, kind, project, name, left_behind, at)
                    SELECT gen_random_uuid(), 'workload', 'p', 'days-' || days, '{}', now() - days * interval '1 day'
                    FROM UNNEST(ARRAY[0, 29, 31, 4000]) days";
    sql.execute(receipts, &[]).await.unwrap();
    world.store.enforce(&Retention::default()).await.unwrap();
    let names = async |table: &str| -> Vec<String> {
        let rows = sql.query(&format!("SELECT name FROM {table} ORDER BY name"), &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(names("tombstones").await, ["days-0", "days-29"]);
    assert_eq!(names("receipts").await, ["days-0", "days-29", "days-31"]);
    world.store.enforce(&Retention { history: None, ..Retention::default() }).await.unwrap();
    assert_eq!(names("receipts").await.len(), 3, "without an age nothing is old");
}
