//! Replicas that die: their work goes on, and what they say afterwards counts for nothing.

use std::time::{Duration, Instant};

use threeport::v1::{AcquireLeaseRequest, RenewRequest};

use crate::fixture::{World, ended, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_holders_work_goes_on_within_five_seconds_and_looks_twice() {
    let world = World::new().await;
    let _process = world.process(None);
    let id = world.create("workload", "web", &[]).await;
    let dead = world.replica().await;
    let begun = world.begin(dead, id).await;
    let since = Instant::now();
    let heir = world.replica().await;
    let mut taken = world.begin(heir, id).await;
    while taken.outcome != "begun" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(world.renew(heir).await);
        taken = world.begin(heir, id).await;
        assert!(since.elapsed() < Duration::from_secs(5), "still {}", taken.outcome);
    }
    assert!(taken.full_look && taken.epoch > begun.epoch);
    assert!(!world.renew(dead).await, "an expired replica never comes back");
    assert!(!world.finish(dead, id, &begun, ended("done")).await.accepted);
    world.finish(heir, id, &taken, ended("done")).await;
    let sql = world.sql().await;
    let row =
        sql.query_one("SELECT full_looks, EXTRACT(EPOCH FROM due_at - now())::float8 FROM work", &[]).await.unwrap();
    assert_eq!(row.get::<_, i16>(0), 1);
    assert!((8.0..=10.0).contains(&row.get::<_, f64>(1)), "the second look follows the calls' time-out");
}

#[tokio::test]
async fn a_replica_that_leaves_hands_over_at_once() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let (leaving, heir) = (world.replica().await, world.replica().await);
    assert_eq!(world.begin(leaving, id).await.outcome, "begun");
    let request = RenewRequest { replica: leaving.to_string(), leave: true, ..Default::default() };
    assert!(!world.store.renew(request, world.caller()).await.unwrap().lost);
    assert_eq!(world.begin(heir, id).await.outcome, "begun");
}

#[tokio::test]
async fn a_lost_answer_to_begin_costs_one_epoch() {
    let world = World::new().await;
    let id = world.create("workload", "web", &[]).await;
    let replica = world.replica().await;
    let lost = world.begin(replica, id).await;
    let again = world.begin(replica, id).await;
    assert_eq!((again.outcome.as_str(), again.epoch, again.full_look), ("begun", lost.epoch + 1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_lease_lives_with_its_replica() {
    let world = World::new().await;
    let (one, other) = (world.replica().await, world.replica().await);
    let acquire = async |replica: uuid::Uuid, release| {
        let request = AcquireLeaseRequest { replica: replica.to_string(), name: "watch/1".into(), release };
        let answer = world.store.acquire_lease(request, world.caller()).await.unwrap();
        (answer.held, answer.epoch)
    };
    assert_eq!(acquire(one, false).await, (true, 1));
    assert_eq!(acquire(one, false).await, (true, 1));
    assert_eq!(acquire(other, false).await, (false, 0));
    acquire(one, true).await;
    assert_eq!(acquire(other, false).await, (true, 2));
    eventually("the lease is free", || async {
        assert!(world.renew(one).await);
        acquire(one, false).await == (true, 3)
    })
    .await;
}
