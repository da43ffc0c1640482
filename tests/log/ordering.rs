//! Every commit once, whole and in order.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use threeport::v1::{ListObjectsRequest, WatchRequest, WatchResponse};

use crate::fixture::{World, change, create, edit, eventually, follow};

const WRITERS: usize = 8;
const COMMITS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_resumes_sees_every_commit_once_across_a_killed_sequencer() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for index in 0..4 {
        ids.push(world.create("workload-definition", &format!("d{index}"), &[]).await);
    }
    let (first, second) = (world.process(None), world.process(None));
    let start =
        follow(&second.store, WatchRequest { from_position: 1, ..Default::default() }, |seen| seen.len() == 3).await;
    let writers = (0..WRITERS).map(|writer| {
        let (store, ids) = (world.store.clone(), ids.clone());
        tokio::spawn(async move {
            for round in 0..COMMITS {
                let pair = [ids[(writer + round) % 4], ids[(writer + round + 1 + round % 3) % 4]];
                edit(&store, &pair, json!({ "manifest": format!("{writer}/{round}") })).await;
            }
        })
    });
    let writers = writers.collect::<Vec<_>>();
    let watcher = tokio::spawn(resume_often(second, start.last().unwrap().position));
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(first);
    for writer in writers {
        writer.await.unwrap();
    }
    let seen = watcher.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[1].position == pair[0].position + 1), "gaps or repeats");
    assert!(seen.iter().all(|commit| commit.events.len() == 2), "a commit in parts");
    let mut revisions = HashMap::new();
    for event in seen.iter().flat_map(|commit| &commit.events) {
        let meta = event.object.as_ref().unwrap().meta.as_ref().unwrap();
        let last = revisions.insert(meta.id.clone(), meta.revision).unwrap_or(1);
        assert_eq!(meta.revision, last + 1, "the log's order is not that of the revisions");
    }
}

/// Breaks off again and again, and goes on from where it was.
async fn resume_often(process: crate::fixture::Process, from: i64) -> Vec<WatchResponse> {
    let mut seen: Vec<WatchResponse> = Vec::new();
    while seen.len() < WRITERS * COMMITS {
        let from_position = seen.last().map_or(from, |last| last.position);
        let wanted = (WRITERS * COMMITS - seen.len()).min(37);
        seen.extend(
            follow(&process.store, WatchRequest { from_position, ..Default::default() }, |page| page.len() == wanted)
                .await,
        );
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_watch_tells_what_enters_and_leaves() {
    let world = World::new().await;
    let process = world.process(None);
    let id = world.create("workload-definition", "web", &[]).await;
    let request = |from_position| WatchRequest {
        kinds: vec!["definition".into()],
        project: "default".into(),
        filter: "labels.tier = dev".into(),
        from_position,
    };
    for (labels, spec) in
        [(json!({ "tier": "dev" }), "1"), (json!({ "tier": "dev" }), "2"), (json!({}), "3"), (json!({}), "4")]
    {
        change(&world.store, &[id], labels, json!({ "manifest": spec })).await;
    }
    world.create("workload-definition", "other", &[]).await;
    let seen = follow(&process.store, request(1), |seen| seen.len() == 3).await;
    let types = seen.iter().map(|commit| commit.events[0].r#type.as_str()).collect::<Vec<_>>();
    assert_eq!(types, ["entered", "spec", "left"]);
    let entered = seen[0].events[0].object.clone().unwrap();
    assert_eq!(entered.meta.unwrap().revision, 5, "what enters is sent as it is now");
    // A watch that resumes in between is told of the leaving.
    let resumed = follow(&process.store, request(seen[1].position), |seen| seen.len() == 1).await;
    assert_eq!(resumed[0].events[0].r#type, "left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_now_on_is_told_where_it_stands() {
    use futures::StreamExt;
    let world = World::new().await;
    let process = world.process(None);
    create(&world.store, "workload-definition", "web", None, &[]).await;
    let all =
        || ListObjectsRequest { kind: "workload-definition".into(), project: "default".into(), ..Default::default() };
    // A commit that has no position yet is still to come for who watches from now on.
    eventually("the commit has a position", || async { world.store.list(all()).await.unwrap().position > 0 }).await;
    let mut stream = Box::pin(process.store.watch(WatchRequest::default()).await.unwrap());
    let bookmark = stream.next().await.unwrap().unwrap();
    assert!(bookmark.events.is_empty());
    let later = world.process(None);
    let error = later.store.watch(WatchRequest { from_position: 99, ..Default::default() }).await.err().unwrap();
    assert_eq!(error.reason(), "PositionAhead");
}
