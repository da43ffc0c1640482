//! Begin and Finish: one holder at a time, nothing lost, nothing spins.

use std::time::Duration;

use serde_json::json;
use threeport::json::to_struct;
use threeport::v1::{
    self, BeginItem, BeginRequest, Condition, ControllerReference, EventsRequest, FinishItem, NewEvent, SweepRequest,
    WakeItem, WakeRequest, WatchRequest,
};
use uuid::Uuid;

use crate::fixture::{World, create, edit, ended, eventually, follow, workload};

fn ready(status: &str) -> Vec<Condition> {
    vec![Condition { r#type: "Ready".into(), status: status.into(), reason: "Tested".into(), ..Default::default() }]
}

async fn due(world: &World) -> Vec<String> {
    let request = SweepRequest { controllers: vec![workload()], limit: 0 };
    let items = world.store.sweep(request, world.caller()).await.unwrap().items;
    items.into_iter().map(|item| item.object_id).collect()
}

#[tokio::test]
async fn one_replica_holds_an_object_and_a_cause_meanwhile_makes_it_due_again() {
    let world = World::new().await;
    let definition = world.create("workload-definition", "web", &[]).await;
    let id = world.create("workload", "web", &[definition]).await;
    let (one, other) = (world.replica().await, world.replica().await);
    let begun = world.begin(one, id).await;
    assert_eq!((begun.outcome.as_str(), begun.wanted, begun.full_look), ("begun", 1, false));
    assert_eq!(begun.uses[0].meta.as_ref().unwrap().name, "web");
    assert_eq!(world.begin(other, id).await.outcome, "busy");
    assert_eq!(world.begin(other, Uuid::now_v7()).await.outcome, "gone");
    // The definition is edited while its user is being reconciled.
    edit(&world.store, &[definition], json!({ "manifest": "2" })).await;
    let finished = world.finish(one, id, &begun, FinishItem { conditions: ready("True"), ..ended("done") }).await;
    assert!(finished.accepted);
    assert_eq!(due(&world).await, [id.to_string()]);
    let again = world.begin(other, id).await;
    assert_eq!((again.wanted, again.epoch), (2, begun.epoch + 1));
    // The first replica's word no longer counts.
    assert!(!world.finish(one, id, &begun, ended("give_up")).await.accepted);
    assert!(world.finish(other, id, &again, ended("done")).await.accepted);
    assert_eq!(world.begin(one, id).await.outcome, "idle");
}

#[tokio::test]
async fn children_that_are_refused_are_told_to_the_objects_reader() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let replica = world.replica().await;
    let begun = world.begin(replica, id).await;
    let child = v1::Object { kind: "project".into(), ..Default::default() };
    let children = Some(v1::ChildSet { objects: vec![child] });
    let item = FinishItem { children, conditions: ready("True"), ..ended("done") };
    let finished = world.finish(replica, id, &begun, item).await;
    assert!(finished.accepted && finished.child_error.contains("may not own project"), "{finished:?}");
    let told = world.store.get("workload", "default", "web").await.unwrap();
    let told = threeport::json::from_struct(told.status.unwrap());
    assert_eq!(told["conditions"][0]["reason"], "ChildrenRefused", "{told}");
    let request = EventsRequest { project: "default".into(), ..Default::default() };
    let events = world.store.events(request).await.unwrap().events;
    assert!(events[0].reason == "ChildrenRefused" && events[0].note.contains("may not own project"), "{events:?}");
}

#[tokio::test]
async fn what_cant_be_read_holds_up_nothing_else() {
    let world = World::new().await;
    let runtime = world.create("kubernetes-runtime-instance", "local", &[]).await;
    edit(&world.store, &[runtime], json!({ "token": "enc:a-key-that-was-dropped:AAAA" })).await;
    let broken = world.create("workload", "broken", &[runtime]).await;
    let sound = world.create("workload", "sound", &[]).await;
    let replica = world.replica().await;
    let item = |id: Uuid| BeginItem { controller: Some(workload()), object_id: id.to_string() };
    let request = BeginRequest { replica: replica.to_string(), items: vec![item(broken), item(sound)] };
    let begun = world.store.begin(request, world.caller()).await.unwrap().results;
    assert_eq!((begun[0].outcome.as_str(), begun[1].outcome.as_str()), ("idle", "begun"));
    eventually("it is tried again", || async { due(&world).await == [broken.to_string()] }).await;
    let event =
        world.sql().await.query_one("SELECT reason FROM events WHERE object_id = $1", &[&broken]).await.unwrap();
    assert_eq!(event.get::<_, &str>(0), "Unreadable");
}

#[tokio::test]
async fn a_pruned_attachment_goes_although_its_target_is_not_done() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let attachment = world.create("attachment", "extra", &[id]).await;
    let sql = world.sql().await;
    sql.execute("UPDATE objects SET deleted_at = now() WHERE id = $1", &[&attachment]).await.unwrap();
    let left = async || {
        let row = sql.query_one("SELECT count(*) FROM objects WHERE kind = 'attachment'", &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    let replica = world.replica().await;
    let soon = Some(Duration::from_millis(100).try_into().unwrap());
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, FinishItem { check_in: soon, ..ended("check_in") }).await;
    assert_eq!(left().await, 1);
    eventually("the check-in is due", || async { due(&world).await.len() == 1 }).await;
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, FinishItem { check_in: soon, pruned: true, ..ended("check_in") }).await;
    assert_eq!(left().await, 0);
}

/// An object's writers lock objects first and work last: a Finish too, or each of these would wait for the other.
#[tokio::test]
async fn a_finish_and_a_write_that_uses_its_object_do_not_deadlock() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let user = world.create("workload", "user", &[id]).await;
    let replica = world.replica().await;
    let begun = world.begin(replica, id).await;
    let mut sql = world.sql().await;
    let writer = sql.transaction().await.unwrap();
    writer.execute("SELECT FROM objects WHERE id = $1 FOR KEY SHARE", &[&id]).await.unwrap();
    let flip = world.finish(replica, id, &begun, FinishItem { conditions: ready("True"), ..ended("done") });
    let write = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for woken in [user, id] {
            writer.execute("UPDATE work SET wanted = wanted + 1 WHERE object_id = $1", &[&woken]).await.unwrap();
        }
        writer.commit().await.unwrap();
        std::time::Instant::now()
    };
    let started = std::time::Instant::now();
    let (finished, written) = futures::future::join(flip, write).await;
    assert!(finished.accepted);
    assert!(written - started < Duration::from_millis(900), "the write waited for a deadlock to be found");
    assert_eq!(due(&world).await.len(), 2);
}

#[tokio::test]
async fn failures_back_off_and_giving_up_waits_for_a_cause() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let replica = world.replica().await;
    for attempt in 0..3 {
        let mut begun = world.begin(replica, id).await;
        if attempt > 0 {
            assert_eq!(begun.outcome, "idle", "it is not due at once");
        }
        eventually("due again", || async { due(&world).await.len() == 1 || attempt == 0 }).await;
        if attempt > 0 {
            begun = world.begin(replica, id).await;
        }
        assert_eq!(begun.attempts, attempt);
        let item = FinishItem { message: "connection refused".into(), ..ended("retry") };
        assert!(world.finish(replica, id, &begun, item).await.accepted);
    }
    eventually("due again", || async { due(&world).await.len() == 1 }).await;
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, ended("give_up")).await;
    let wake = async |drift| {
        let item = WakeItem { controller: Some(workload()), object_id: id.to_string(), drift };
        world.store.wake(WakeRequest { items: vec![item] }, world.caller()).await.unwrap().woken
    };
    assert_eq!((wake(true).await, due(&world).await.len()), (0, 0));
    assert_eq!((wake(false).await, due(&world).await.len()), (1, 1));
    let events = world.sql().await.query_one("SELECT count, note FROM events", &[]).await.unwrap();
    assert_eq!((events.get::<_, i32>(0), events.get::<_, &str>(1)), (3, "connection refused"));
}

#[tokio::test]
async fn drift_leaves_the_paused_alone() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    edit(&world.store, &[id], json!({ "paused": true })).await;
    let item = WakeItem { controller: Some(workload()), object_id: id.to_string(), drift: true };
    let woken = world.store.wake(WakeRequest { items: vec![item] }, world.caller()).await.unwrap().woken;
    assert_eq!(woken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_write_nothing_and_a_flip_wakes_owner_and_users() {
    let world = World::new().await;
    let process = world.process(None);
    let owner = world.create("workload", "owner", &[]).await;
    let id = create(&world.store, "workload", "child", Some(owner), &[]).await;
    let user = world.create("workload", "user", &[id]).await;
    let replica = world.replica().await;
    for other in [owner, user] {
        let begun = world.begin(replica, other).await;
        world.finish(replica, other, &begun, ended("done")).await;
    }
    let status = || FinishItem {
        status: Some(to_struct(json!({ "health": "Healthy" }))),
        conditions: ready("True"),
        check_in: Some(Duration::from_millis(100).try_into().unwrap()),
        ..ended("check_in")
    };
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, status()).await;
    let mut woken = due(&world).await;
    woken.retain(|due| *due != id.to_string());
    woken.sort();
    assert_eq!(woken, [owner.to_string(), user.to_string()]);
    for other in [owner, user] {
        let begun = world.begin(replica, other).await;
        world.finish(replica, other, &begun, ended("done")).await;
    }
    eventually("the check-in is due", || async { due(&world).await.len() == 1 }).await;
    let begun = world.begin(replica, id).await;
    assert_eq!(begun.owner_name(), "owner");
    world.finish(replica, id, &begun, FinishItem { check_in: None, ..status_done(status()) }).await;
    assert!(due(&world).await.is_empty());
    edit(&world.store, &[id], json!({})).await;
    let request = WatchRequest { filter: "name = child".into(), from_position: 1, ..Default::default() };
    let seen = follow(&process.store, request, |seen| seen.len() == 3).await;
    let types = seen.iter().map(|commit| commit.events[0].r#type.as_str()).collect::<Vec<_>>();
    assert_eq!(types, ["created", "status", "spec"]);
    let object = seen[1].events[0].object.clone().unwrap();
    let status = threeport::json::from_struct(object.status.unwrap());
    assert_eq!((&status["health"], &status["observed_generation"]), (&json!("Healthy"), &json!("1")));
}

fn status_done(item: FinishItem) -> FinishItem {
    FinishItem { outcome: "done".into(), ..item }
}

trait OwnerName {
    fn owner_name(&self) -> &str;
}

impl OwnerName for threeport::v1::BeginResult {
    fn owner_name(&self) -> &str {
        &self.object.as_ref().unwrap().meta.as_ref().unwrap().owner.as_ref().unwrap().name
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_woken_in_batches_and_a_project_wakes_nobody() {
    let world = World::new().await;
    let definition = world.create("workload-definition", "web", &[]).await;
    let project: Uuid =
        world.sql().await.query_one("SELECT id FROM objects WHERE kind = 'project'", &[]).await.unwrap().get(0);
    for index in 0..130 {
        world.create("workload", &format!("w{index}"), &[definition, project]).await;
    }
    let sql = world.sql().await;
    sql.execute("UPDATE work SET due_at = NULL, done = wanted", &[]).await.unwrap();
    let waiting = async || {
        let row =
            sql.query_one("SELECT count(*) FROM work WHERE wanted > done AND due_at <= now()", &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    edit(&world.store, &[project], json!({})).await;
    assert_eq!(waiting().await, 0);
    edit(&world.store, &[definition], json!({ "manifest": "2" })).await;
    assert_eq!(waiting().await, 0, "so many are woken afterwards");
    let _process = world.process(None);
    eventually("all users are woken", || async { waiting().await == 130 }).await;
    let left: i64 = sql.query_one("SELECT count(*) FROM fan_outs", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_deleting_object_waits_for_its_children() {
    let world = World::new().await;
    let owner = world.create("workload", "owner", &[]).await;
    create(&world.store, "workload", "child", Some(owner), &[]).await;
    let sql = world.sql().await;
    sql.execute("UPDATE objects SET deleted_at = now()", &[]).await.unwrap();
    let replica = world.replica().await;
    assert_eq!(world.begin(replica, owner).await.outcome, "idle");
    let child: Uuid = sql.query_one("SELECT id FROM objects WHERE name = 'child'", &[]).await.unwrap().get(0);
    assert_eq!(due(&world).await, [child.to_string()], "what waits is off the queue");
    let begun = world.begin(replica, child).await;
    world.finish(replica, child, &begun, FinishItem { cleaned_up: true, ..ended("done") }).await;
    // A composite has made nothing itself: it goes with the last that it owned.
    assert_eq!(world.begin(replica, owner).await.outcome, "gone");
    let left: i64 = sql.query_one("SELECT count(*) FROM objects WHERE kind = 'workload'", &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn events_are_counted_and_bounded() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let replica = world.replica().await;
    let events = (0..150).map(|index| NewEvent {
        r#type: "Normal".into(),
        reason: "Repaired".into(),
        note: format!("field {}", index / 2 * 2),
    });
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, FinishItem { events: events.collect(), ..ended("done") }).await;
    let sql = world.sql().await;
    let row = sql.query_one("SELECT count(*), max(count) FROM events", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1)), (75, 2));
}

#[tokio::test]
async fn a_token_speaks_for_its_own_controllers() {
    let world = World::new().await;
    let caller = api_server::store::work::Caller { may_act_as: &|kind, _| kind == "widget", ..world.caller() };
    let request = SweepRequest {
        controllers: vec![ControllerReference { kind: "workload".into(), name: "workload".into() }],
        limit: 0,
    };
    assert_eq!(world.store.sweep(request, caller).await.unwrap_err().reason(), "Denied");
}
