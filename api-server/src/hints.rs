//! Hints about due work on `JetStream`: no content, may be lost or doubled, cost nothing to repeat.
//!
//! The stream keeps one message a subject and refuses a second one (`discard` is `New` per subject), which counts as
//! success: the hint is there. A hint that could not be published is forgotten, so that the next look offers it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, ErrorCode, stream};
use futures::StreamExt;
use futures::stream::iter;
use threeport::failpoint;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The stream; its consumers are named `<kind>_<controller>`.
pub const STREAM: &str = "HINTS";
/// A row that was hinted this lately and stands as it stood is not hinted again.
const REPEAT: Duration = Duration::from_secs(5);
/// Hints on their way to the broker.
const QUEUE: usize = 4096;
/// Hints published at the same time.
const CONCURRENCY: usize = 64;
/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A pause after a failed declaration of the stream.
const REDECLARE: Duration = Duration::from_millis(500);
/// Hints that nobody takes go: their rows are hinted again for as long as they are due.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Bounds the stream's memory.
const MAX_MESSAGES: i64 = 1_000_000;

/// A row of work that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub kind: String,
    pub controller: String,
    pub object_id: Uuid,
    /// With `due_at`: how the row stood.
    pub wanted: i64,
    pub due_at: SystemTime,
}

impl Hint {
    pub fn subject(&self) -> String {
        format!("objects.{}.{}.{}", self.kind, self.controller, self.object_id)
    }

    fn key(&self) -> Key {
        (self.object_id, self.controller.clone())
    }
}

type Key = (Uuid, String);

/// What was hinted lately, and how its row stood then.
#[derive(Default)]
struct Hinted(Mutex<HashMap<Key, (i64, SystemTime, Instant)>>);

impl Hinted {
    /// Notes the hint; false if it was noted lately and the row stands as it stood.
    fn note(&self, hint: &Hint) -> bool {
        let mut hinted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_repeat = hinted.get(&hint.key()).is_some_and(|(wanted, due_at, at)| {
            (*wanted, *due_at) == (hint.wanted, hint.due_at) && at.elapsed() < REPEAT
        });
        if !is_repeat {
            hinted.insert(hint.key(), (hint.wanted, hint.due_at, Instant::now()));
        }
        !is_repeat
    }

    fn forget(&self, hint: &Hint) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hint.key());
    }

    fn expire(&self) {
        let mut hinted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hinted.retain(|_, (_, _, at)| at.elapsed() < REPEAT);
    }
}

/// Where the queue's reader offers hints. Never waits for the broker.
#[derive(Clone)]
pub struct Sender {
    hinted: Arc<Hinted>,
    queue: mpsc::Sender<Hint>,
}

impl Sender {
    /// Queues the hint unless it was published lately; drops it when the queue is full.
    pub fn offer(&mut self, hint: Hint) {
        if !self.hinted.note(&hint) {
            return;
        }
        if let Err(error) = self.queue.try_send(hint) {
            self.hinted.forget(&error.into_inner());
        }
    }

    /// Drops what was hinted too long ago to matter.
    pub fn expire(&self) {
        self.hinted.expire();
    }
}

/// Takes hints from the queue to the broker.
pub struct Publisher {
    hinted: Arc<Hinted>,
    queue: mpsc::Receiver<Hint>,
    url: String,
}

/// A queue of hints, and what empties it.
pub fn queue(url: &str) -> (Sender, Publisher) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let hinted = Arc::new(Hinted::default());
    (Sender { hinted: hinted.clone(), queue: sender }, Publisher { hinted, queue: receiver, url: url.to_owned() })
}

impl Publisher {
    /// Publishes until `shutdown`; a broker that is away is waited for in the background.
    ///
    /// # Errors
    /// When the URL can't be used at all.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), async_nats::ConnectError> {
        let (changed, mut changes) = tokio::sync::watch::channel(());
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connection_timeout(TIMEOUT)
            .event_callback(move |event| {
                let changed = changed.clone();
                async move {
                    if matches!(event, async_nats::Event::Connected) {
                        let _ = changed.send(());
                    }
                }
            })
            .connect(&self.url)
            .await?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(TIMEOUT);
        let mut declared = false;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // The broker may have lost its disk while it was away.
                Ok(()) = changes.changed() => declared = declare(&jetstream).await,
                taken = self.queue.recv_many(&mut batch, CONCURRENCY * 4) => {
                    if taken == 0 {
                        return Ok(());
                    }
                    let is_connected = client.connection_state() == async_nats::connection::State::Connected;
                    declared = is_connected && (declared || declare(&jetstream).await);
                    if declared {
                        declared = self.publish(&jetstream, &mut batch).await;
                    } else {
                        self.forget(&mut batch);
                        tokio::time::sleep(REDECLARE).await;
                    }
                }
            }
        }
    }

    fn forget(&self, batch: &mut Vec<Hint>) {
        for hint in batch.drain(..) {
            self.hinted.forget(&hint);
        }
    }

    /// Publishes a batch; false if the stream is gone.
    async fn publish(&self, jetstream: &jetstream::Context, batch: &mut Vec<Hint>) -> bool {
        let outcomes = iter(batch.drain(..))
            .map(|hint| async move {
                let outcome = timeout(TIMEOUT, publish_one(jetstream, &hint)).await;
                (hint, outcome.unwrap_or(Outcome::Failed))
            })
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        let mut published = 0;
        let mut is_declared = true;
        for (hint, outcome) in outcomes {
            match outcome {
                Outcome::Published => published += 1,
                Outcome::Failed => self.hinted.forget(&hint),
                Outcome::NoStream => {
                    self.hinted.forget(&hint);
                    is_declared = false;
                }
            }
        }
        metrics::counter!("threeport_hints_published_total").increment(published);
        is_declared
    }
}

enum Outcome {
    Published,
    Failed,
    NoStream,
}

async fn publish_one(jetstream: &jetstream::Context, hint: &Hint) -> Outcome {
    if failpoint::pass("hint.publishing").await.is_err() {
        return Outcome::Published;
    }
    let published = match jetstream.publish(hint.subject(), "".into()).await {
        Ok(acknowledgement) => acknowledgement.await,
        Err(error) => Err(error),
    };
    let Err(error) = published else {
        let is_known = failpoint::pass("hint.published").await.is_ok();
        return if is_known { Outcome::Published } else { Outcome::Failed };
    };
    let is_there = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .is_some_and(|error| error.error_code() == ErrorCode::STREAM_STORE_FAILED);
    match error.kind() {
        _ if is_there => Outcome::Published,
        PublishErrorKind::StreamNotFound => Outcome::NoStream,
        _ => {
            tracing::debug!(%error, subject = hint.subject(), "hint not published");
            Outcome::Failed
        }
    }
}

/// The stream as publisher and consumers declare it.
pub fn stream_config() -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        subjects: vec!["objects.>".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        discard: stream::DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 1,
        max_messages: MAX_MESSAGES,
        max_age: MAX_AGE,
        // A hint that is lost with the broker is published again: no disk is worth waiting for.
        storage: stream::StorageType::Memory,
        ..Default::default()
    }
}

async fn declare(jetstream: &jetstream::Context) -> bool {
    match timeout(TIMEOUT, jetstream.get_or_create_stream(stream_config())).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, stream = STREAM, "declaring the stream of hints failed; retrying");
            false
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_hinted_again_only_when_it_stands_differently() {
        let (mut sender, mut publisher) = queue("nats://unused");
        let hint = Hint {
            kind: "workload".into(),
            controller: "workload".into(),
            object_id: Uuid::now_v7(),
            wanted: 1,
            due_at: SystemTime::UNIX_EPOCH,
        };
        sender.offer(hint.clone());
        sender.offer(hint.clone());
        sender.offer(Hint { wanted: 2, ..hint.clone() });
        sender.offer(Hint { wanted: 2, due_at: SystemTime::now(), ..hint });
        let mut queued = Vec::new();
        while let Ok(hint) = publisher.queue.try_recv() {
            queued.push(hint);
        }
        assert_eq!(queued.len(), 3);
    }
}
