//! Namespaces and CRDs shared between workloads: who may use them, who deletes them, and inventory beside them.

use api_server::store::retention::Retention;
use threeport::v1::{
    InventoryEntry, Lease, ListInventoryRequest, RecordRequest, RecordResponse, ResourceReference, SharedResource,
};
use uuid::Uuid;

use crate::fixture::{World, workload};

struct User {
    replica: Uuid,
    object: Uuid,
    epoch: i64,
}

const RUNTIME: Uuid = Uuid::from_u128(7);

async fn user(world: &World, name: &str, project: &str) -> User {
    let object = world.create("workload", name, &[]).await;
    let sql = world.sql().await;
    sql.execute("UPDATE objects SET project = $2 WHERE id = $1", &[&object, &project]).await.unwrap();
    let replica = world.replica().await;
    User { replica, object, epoch: world.begin(replica, object).await.epoch }
}

async fn record(
    world: &World,
    user: &User,
    request: RecordRequest,
) -> Result<RecordResponse, api_server::error::Error> {
    let lease = Some(Lease { controller: Some(workload()), object_id: user.object.to_string(), epoch: user.epoch });
    let request =
        RecordRequest { replica: user.replica.to_string(), lease, runtime_id: RUNTIME.to_string(), ..request };
    world.store.record(request, world.caller()).await
}

fn named(kind: &str, name: &str) -> SharedResource {
    SharedResource { kind: kind.into(), name: name.into(), ..Default::default() }
}

async fn claim(world: &World, user: &User, kind: &str, name: &str) -> (bool, String) {
    let request = RecordRequest { claims: vec![named(kind, name)], ..Default::default() };
    let claim = record(world, user, request).await.unwrap().claims.remove(0);
    (claim.granted, claim.reason)
}

async fn release(world: &World, user: &User, name: &str) -> bool {
    let request = RecordRequest { releases: vec![named("Namespace", name)], ..Default::default() };
    record(world, user, request).await.unwrap().releases.remove(0).granted
}

#[tokio::test]
async fn the_first_project_owns_a_namespace_and_the_last_user_deletes_it() {
    let world = World::new().await;
    let (a, b) = (user(&world, "a", "one").await, user(&world, "b", "one").await);
    let foreign = user(&world, "c", "two").await;
    assert_eq!(claim(&world, &a, "Namespace", "shop").await, (true, String::new()));
    assert_eq!(claim(&world, &b, "Namespace", "shop").await, (true, String::new()));
    assert_eq!(claim(&world, &foreign, "Namespace", "shop").await, (false, "OtherProject".into()));
    assert_eq!(claim(&world, &a, "Namespace", "kube-system").await, (false, "Reserved".into()));
    for user in [&a, &foreign] {
        assert!(claim(&world, user, "CustomResourceDefinition", "widgets.acme.io").await.0, "no project owns a CRD");
    }
    let made = |made_by_us| SharedResource { uid: "u1".into(), made_by_us, ..named("Namespace", "shop") };
    record(&world, &a, RecordRequest { made: vec![made(true)], ..Default::default() }).await.unwrap();
    record(&world, &b, RecordRequest { made: vec![made(false)], ..Default::default() }).await.unwrap();
    assert!(!release(&world, &a, "shop").await, "another uses it");
    assert!(release(&world, &b, "shop").await, "the last deletes what we made");
    assert!(release(&world, &b, "shop").await, "and is told so again");
    assert_eq!(claim(&world, &a, "Namespace", "shop").await, (false, "BeingDeleted".into()));
    assert!(claim(&world, &b, "Namespace", "shop").await.0, "who was told to delete it may want it again");
    record(&world, &b, RecordRequest { made: vec![made(true)], ..Default::default() }).await.unwrap();
    assert!(release(&world, &b, "shop").await);
    let gone = RecordRequest { gone: vec![named("Namespace", "shop")], ..Default::default() };
    record(&world, &b, gone).await.unwrap();
    assert!(claim(&world, &foreign, "Namespace", "shop").await.0);
    assert!(!release(&world, &foreign, "shop").await, "nobody deletes what was there before");
}

#[tokio::test]
async fn who_does_not_use_a_namespace_neither_releases_it_nor_says_who_made_it() {
    let world = World::new().await;
    let (releaser, waiting) = (user(&world, "a", "one").await, user(&world, "b", "one").await);
    let foreign = user(&world, "c", "two").await;
    assert!(claim(&world, &releaser, "Namespace", "shop").await.0);
    let made = || SharedResource { uid: "u1".into(), made_by_us: true, ..named("Namespace", "shop") };
    let and_release =
        || RecordRequest { made: vec![made()], releases: vec![named("Namespace", "shop")], ..Default::default() };
    // What another project left there, by its word alone, isn't ours to delete.
    let answer = record(&world, &foreign, and_release()).await.unwrap().releases.remove(0);
    assert!(!answer.granted && !answer.made_by_us, "{answer:?}");
    let answer = record(&world, &releaser, and_release()).await.unwrap().releases.remove(0);
    assert!(answer.granted && answer.made_by_us, "{answer:?}");
    // Its release goes on: it may be about to delete.
    assert_eq!(claim(&world, &waiting, "Namespace", "shop").await, (false, "BeingDeleted".into()));
    assert!(!record(&world, &waiting, and_release()).await.unwrap().releases.remove(0).granted);
    assert_eq!(claim(&world, &waiting, "Namespace", "shop").await, (false, "BeingDeleted".into()));
    assert!(release(&world, &releaser, "shop").await, "it is asked again");
    // Nothing more is done for it: it was paused, or given up.
    let sql = world.sql().await;
    sql.execute("UPDATE work SET holder = NULL, due_at = NULL WHERE object_id = $1", &[&releaser.object])
        .await
        .unwrap();
    assert!(claim(&world, &waiting, "Namespace", "shop").await.0);
}

#[tokio::test]
async fn a_release_ends_with_its_releaser() {
    let world = World::new().await;
    let (a, b) = (user(&world, "a", "one").await, user(&world, "b", "two").await);
    assert!(claim(&world, &a, "Namespace", "shop").await.0);
    let made = SharedResource { uid: "u1".into(), made_by_us: true, ..named("Namespace", "shop") };
    record(&world, &a, RecordRequest { made: vec![made], ..Default::default() }).await.unwrap();
    assert!(release(&world, &a, "shop").await);
    assert_eq!(claim(&world, &b, "Namespace", "shop").await, (false, "BeingDeleted".into()));
    // Given up with --orphan before it could say `gone`.
    world.sql().await.execute("DELETE FROM objects WHERE id = $1", &[&a.object]).await.unwrap();
    assert_eq!(claim(&world, &b, "Namespace", "shop").await, (true, String::new()));
    assert!(!release(&world, &b, "shop").await, "nobody deletes what another has left behind");
}

#[tokio::test]
async fn what_nobody_will_come_back_for_is_forgotten() {
    let world = World::new().await;
    let sql = world.sql().await;
    // The runtime is an object like any other, with nothing to do.
    let runtime = world.create("workload", "runtime", &[]).await;
    sql.execute("DELETE FROM work WHERE object_id = $1", &[&runtime]).await.unwrap();
    sql.execute("UPDATE objects SET id = $1 WHERE id = $2", &[&RUNTIME, &runtime]).await.unwrap();
    let (a, b) = (user(&world, "a", "one").await, user(&world, "b", "one").await);
    for (user, name) in [(&a, "released"), (&b, "going"), (&b, "used")] {
        assert!(claim(&world, user, "Namespace", name).await.0);
        let made = SharedResource { uid: "u1".into(), made_by_us: true, ..named("Namespace", name) };
        record(&world, user, RecordRequest { made: vec![made], ..Default::default() }).await.unwrap();
    }
    assert!(release(&world, &a, "released").await && release(&world, &b, "going").await);
    let left = async || -> Vec<String> {
        world.store.enforce(&Retention::default()).await.unwrap();
        let rows = sql.query("SELECT name FROM shared_resources ORDER BY name", &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(left().await, ["going", "released", "used"]);
    sql.execute("DELETE FROM objects WHERE id = $1", &[&a.object]).await.unwrap();
    assert_eq!(left().await, ["going", "used"], "its releaser is gone");
    sql.execute("DELETE FROM objects WHERE id = $1", &[&RUNTIME]).await.unwrap();
    assert_eq!(left().await, ["used"], "its cluster is gone");
}

#[tokio::test]
async fn inventory_is_noted_under_the_lease_and_listed_by_page() {
    let world = World::new().await;
    let user = user(&world, "a", "one").await;
    let resource = |name: &str| ResourceReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: "shop".into(),
        name: name.into(),
    };
    let entries =
        ["a", "b", "c", "b"].map(|name| InventoryEntry { resource: Some(resource(name)), ..Default::default() });
    let request = RecordRequest { entries: entries.into(), removed: vec![resource("c")], ..Default::default() };
    record(&world, &user, request).await.unwrap();
    record(&world, &user, RecordRequest { removed: vec![resource("c")], ..Default::default() }).await.unwrap();
    let page = |page_token| ListInventoryRequest {
        runtime_id: RUNTIME.to_string(),
        page_size: 1,
        page_token,
        ..Default::default()
    };
    let first = world.store.list_inventory(page(String::new()), world.caller()).await.unwrap();
    let second = world.store.list_inventory(page(first.next_page_token), world.caller()).await.unwrap();
    let third = world.store.list_inventory(page(second.next_page_token), world.caller()).await.unwrap();
    assert_eq!(second.entries[0].resource, Some(resource("b")));
    assert!(third.entries.is_empty() && third.next_page_token.is_empty());
    let kinds = ListInventoryRequest { kinds_only: true, ..page(String::new()) };
    let kinds = world.store.list_inventory(kinds, world.caller()).await.unwrap().entries;
    let config_map = ResourceReference { api_version: "v1".into(), kind: "ConfigMap".into(), ..Default::default() };
    assert_eq!(kinds.into_iter().map(|entry| entry.resource).collect::<Vec<_>>(), [Some(config_map)]);
    let stale = User { epoch: user.epoch - 1, ..user };
    let error = record(&world, &stale, RecordRequest::default()).await.unwrap_err();
    assert_eq!(error.reason(), "LeaseLost");
}
