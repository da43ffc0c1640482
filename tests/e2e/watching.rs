//! Watching: whoever resumes sees every commit once, whole and in order, whatever happens to servers and writers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use threeport::v1::{WatchRequest, WatchResponse};

use crate::system::*;

const WRITERS: usize = 8;

/// The events of each position, as `type kind/name revision.status_revision`.
type Seen = BTreeMap<i64, Vec<String>>;

/// Watches everything from the beginning and drops the connection every few commits, until `last` was seen.
async fn watch(apis: Vec<Api>, last: Arc<std::sync::OnceLock<i64>>) -> Seen {
    let mut seen = Seen::new();
    let (mut position, mut connection) = (1, 0);
    while last.get().is_none_or(|last| position < *last) {
        connection += 1;
        let mut client = apis[connection % apis.len()].client.clone();
        let request = WatchRequest { from_position: position, ..Default::default() };
        let Ok(response) = client.watch(request).await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let mut stream = response.into_inner();
        // Not a round number, so that connections end at different places.
        for _ in 0..17 {
            let Ok(Ok(Some(commit))) = tokio::time::timeout(std::time::Duration::from_secs(2), stream.message()).await
            else {
                break;
            };
            if !commit.events.is_empty() {
                assert!(commit.position > position, "{} came after {position}", commit.position);
                seen.insert(commit.position, events(&commit));
            }
            position = position.max(commit.position);
        }
    }
    seen
}

fn events(commit: &WatchResponse) -> Vec<String> {
    let line = |event: &threeport::v1::WatchEvent| {
        let object = event.object.as_ref().unwrap();
        let meta = object.meta.as_ref().unwrap();
        format!("{} {}/{} {}.{}", event.r#type, object.kind, meta.name, meta.revision, meta.status_revision)
    };
    commit.events.iter().map(line).collect()
}

/// The log as the database has it, after the first position.
async fn logged(system: &System) -> Seen {
    let query =
        "SELECT p.position, c.type || ' ' || c.kind || '/' || c.name || ' ' || coalesce(c.meta->>'revision', '0')
             || '.' || coalesce(c.meta->>'status_revision', '0')
         FROM positions p JOIN changes c USING (commit_id) WHERE p.position > 1 ORDER BY p.position, c.ordinal";
    let mut log = Seen::new();
    for row in system.database.rows(query).await {
        log.entry(row.get(0)).or_default().push(row.get(1));
    }
    log
}

/// Writes until told to stop: objects of its own, and one that all writers write.
async fn write(writer: usize, apis: Vec<Api>, stop: Arc<AtomicBool>, written: Arc<AtomicUsize>) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let own =
            |name: &str| definition(&format!("{name}-{writer}"), &config_map("settings", "round", &round.to_string()));
        let shared = definition("shared", &config_map("settings", "by", &format!("{writer}-{round}")));
        let api = &apis[(writer + round) % apis.len()];
        for documents in [vec![own("a"), own("b")], vec![shared]] {
            // While a server is away its calls fail; nothing of them is stored, or all of it.
            if api.apply(&documents).await.is_ok() {
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_resume_see_every_commit_once_whole_and_in_order_across_killed_sequencers() {
    let mut system = Setup { api_servers: 2, controllers: 0, ..Setup::default() }.start().await;
    let mut apis = Vec::new();
    for index in 0..2 {
        apis.push(Api::connect(&system.address(index).await, &system.api.token));
    }
    let (stop, written, last) = (Arc::default(), Arc::new(AtomicUsize::new(0)), Arc::default());
    let watchers = (0..3).map(|_| tokio::spawn(watch(apis.clone(), Arc::clone(&last)))).collect::<Vec<_>>();
    let writers = (0..WRITERS)
        .map(|writer| tokio::spawn(write(writer, apis.clone(), Arc::clone(&stop), Arc::clone(&written))))
        .collect::<Vec<_>>();
    let more = async |number: usize| {
        let target = written.load(Ordering::Relaxed) + number;
        eventually("writers go on", MINUTE, async || {
            let written = written.load(Ordering::Relaxed);
            when(written >= target, written)
        })
        .await;
    };
    more(100).await;
    // One of the two is the sequencer: each is killed once.
    for index in 0..2 {
        system.api_servers[index].kill();
        more(100).await;
        system.api_servers[index].start_again();
        more(100).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    eventually("every commit has its position", MINUTE, async || {
        let open = system.database.number("SELECT count(*) FROM unpositioned").await;
        when(open == 0, open)
    })
    .await;
    last.set(system.database.number("SELECT max(position) FROM positions").await).unwrap();
    let log = logged(&system).await;
    for watcher in watchers {
        let seen = tokio::time::timeout(MINUTE, watcher).await.expect("watchers catch up").unwrap();
        assert_eq!(seen, log);
    }
    assert_log_is_sound(&system).await;
}

/// Positions have no gap, no commit is lost, and each object's revisions are in the log's order.
async fn assert_log_is_sound(system: &System) {
    let gaps = "SELECT max(position) - count(*) FROM positions";
    assert_eq!(system.database.number(gaps).await, 0, "positions have gaps");
    let lost = "SELECT count(*) FROM commits c WHERE NOT EXISTS (SELECT FROM positions p WHERE p.commit_id = c.id)";
    assert_eq!(system.database.number(lost).await, 0, "commits without position");
    let disorder = "SELECT count(*) FROM (
             SELECT (c.meta->>'revision')::bigint - lag((c.meta->>'revision')::bigint) OVER (PARTITION BY c.object_id ORDER BY p.position) AS step
             FROM positions p JOIN changes c USING (commit_id) WHERE c.type = 'spec') steps WHERE step <> 1";
    assert_eq!(system.database.number(disorder).await, 0, "revisions are not in the order of the log");
    let shared = system.api.get("workload-definition", "shared").await;
    assert!(shared["meta"]["revision"].as_str().unwrap().parse::<u64>().unwrap() > 50, "{}", shared["meta"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_one_revision_the_second_is_told() {
    let system = Setup { controllers: 0, ..Setup::default() }.start().await;
    let mut workload = document("workload", "web", json!({ "image": "nginx:1" }));
    system.api.apply(std::slice::from_ref(&workload)).await.unwrap();
    let read = system.api.get("workload", "web").await["meta"]["revision"].clone();
    workload["revision"] = read;
    let mut outcomes = Vec::new();
    for image in ["nginx:2", "nginx:3"] {
        workload["spec"]["image"] = json!(image);
        outcomes.push(system.api.update(&workload, "spec.image").await);
    }
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert_eq!(refusal(outcomes.remove(1)).code(), tonic::Code::Aborted);
    assert_eq!(system.api.get("workload", "web").await["spec"]["image"], "nginx:2");
}
