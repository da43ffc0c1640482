//! Hints on a real `JetStream`: what is due is heard of, also after the broker has lost all it had.

use std::time::Duration;

use api_server::hints;
use async_nats::jetstream::{self, consumer};
use cli::local::nats::Nats;
use cli::local::{Silent, directories};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fixture::{LIMIT, World, edit, ended};

/// The subject of the next hint, acknowledged.
async fn next_hint(url: &str) -> String {
    let take = async {
        loop {
            if let Some(subject) = take_one(url).await {
                return subject;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, take).await.expect("a hint comes")
}

/// None while the broker or the stream isn't there.
async fn take_one(url: &str) -> Option<String> {
    let client = async_nats::connect(url).await.ok()?;
    let stream = jetstream::new(client).get_stream(hints::STREAM).await.ok()?;
    let config = consumer::pull::Config {
        durable_name: Some("workload_workload".into()),
        filter_subject: "objects.workload.workload.>".into(),
        ..Default::default()
    };
    let consumer = stream.get_or_create_consumer("workload_workload", config).await.ok()?;
    let mut messages = consumer.fetch().max_messages(1).expires(Duration::from_secs(1)).messages().await.ok()?;
    let message = messages.next().await?.ok()?;
    message.double_ack().await.ok()?;
    Some(message.subject.to_string())
}

fn subject(id: Uuid) -> String {
    format!("objects.workload.workload.{id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_hinted_again_after_the_broker_lost_its_disk() {
    let world = World::new().await;
    let directory = directories::scratch().unwrap();
    let nats = Nats::start(directory.path(), &Silent).await.unwrap();
    let (url, port) = (nats.url(), nats.port());
    let (sender, publisher) = hints::queue(&url);
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publisher.run(stop.clone()));
    let _process = world.process(Some(sender));
    let id = world.create("workload", "web", &[]).await;
    assert_eq!(next_hint(&url).await, subject(id));
    let replica = world.replica().await;
    let begun = world.begin(replica, id).await;
    world.finish(replica, id, &begun, ended("done")).await;
    drop(nats);
    std::fs::remove_dir_all(directory.path().join("nats")).unwrap();
    edit(&world.store, &[id], json!({ "image": "nginx" })).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _nats = Nats::start_on(directory.path(), port, &Silent).await.unwrap();
    assert_eq!(next_hint(&url).await, subject(id));
    stop.cancel();
    publishing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_in_is_hinted_when_its_time_comes() {
    let world = World::new().await;
    let directory = directories::scratch().unwrap();
    let nats = Nats::start(directory.path(), &Silent).await.unwrap();
    let (sender, publisher) = hints::queue(&nats.url());
    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publisher.run(stop.clone()));
    let _process = world.process(Some(sender));
    let id = world.create("workload", "web", &[]).await;
    assert_eq!(next_hint(&nats.url()).await, subject(id));
    let replica = world.replica().await;
    let begun = world.begin(replica, id).await;
    let check_in = Some(Duration::from_millis(300).try_into().unwrap());
    world.finish(replica, id, &begun, threeport::v1::FinishItem { check_in, ..ended("check_in") }).await;
    let since = std::time::Instant::now();
    assert_eq!(next_hint(&nats.url()).await, subject(id));
    assert!(since.elapsed() > Duration::from_millis(200) && since.elapsed() < Duration::from_secs(3));
    stop.cancel();
    publishing.await.unwrap().unwrap();
}
