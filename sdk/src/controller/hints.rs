//! Where the local queue is filled from: the broker's hints, and the server's list of due work while there is no broker.
//!
//! A hint is acknowledged when it enters the queue, so a full queue pulls nothing; what arrives all the same is returned
//! for a second. A hint is worth nothing by itself: whatever is lost here, the server hints at again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, AckKind, consumer};
use futures::StreamExt;
use threeport::{failpoint, v1};

use super::queue::{Key, Pushed};
use super::runner::Shared;

const STREAM: &str = "HINTS";
/// How long one pull stays open.
const PULL: Duration = Duration::from_secs(5);
/// Seconds between looks for due work while hints arrive: a net below the net.
const SWEEP_WITH_BROKER: u64 = 30;
const SWEEP_LIMIT: usize = 100;

/// Whether hints arrive. Cheap to clone.
#[derive(Clone, Default)]
pub struct Attached {
    consumers: Arc<AtomicUsize>,
}

impl Attached {
    /// Whether so many consumers are attached.
    pub fn all(&self, controllers: usize) -> bool {
        self.consumers.load(Ordering::Relaxed) == controllers
    }
}

struct AttachedGuard(Attached);

impl AttachedGuard {
    fn new(attached: &Attached) -> Self {
        attached.consumers.fetch_add(1, Ordering::Relaxed);
        Self(attached.clone())
    }
}

impl Drop for AttachedGuard {
    fn drop(&mut self) {
        self.0.consumers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the broker for as long as it takes, then follows the hints of every controller.
pub async fn follow_all(shared: Arc<Shared>, url: String) {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect().name("threeport-controllers");
    let client = match options.connect(&url).await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "the broker's address can't be used; asking the server for due work instead");
            return;
        }
    };
    let followers = (0..shared.references.len()).map(|index| follow(&shared, &client, index));
    futures::future::join_all(followers).await;
}

/// Follows one controller's hints; declares its consumer again whenever something fails.
async fn follow(shared: &Arc<Shared>, client: &async_nats::Client, index: usize) {
    let context = jetstream::new(client.clone());
    let reference = &shared.references[index];
    loop {
        match declare(&context, reference).await {
            Ok(consumer) => {
                let _attached = AttachedGuard::new(&shared.attached);
                if let Err(error) = pull(shared, client, &consumer, index).await {
                    tracing::debug!(kind = reference.kind, error, "hints interrupted");
                }
            }
            Err(error) => tracing::debug!(kind = reference.kind, %error, "the consumer of hints can't be declared"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn declare(
    context: &jetstream::Context,
    reference: &v1::ControllerReference,
) -> Result<consumer::Consumer<consumer::pull::Config>, jetstream::stream::ConsumerError> {
    let config = consumer::pull::Config {
        durable_name: Some(format!("{}_{}", reference.kind, reference.name)),
        filter_subject: format!("objects.{}.{}.*", reference.kind, reference.name),
        ack_policy: consumer::AckPolicy::Explicit,
        ack_wait: PULL,
        ..Default::default()
    };
    context.create_consumer_on_stream(config, STREAM).await
}

/// Returns when the connection or the consumer is gone.
async fn pull(
    shared: &Shared,
    client: &async_nats::Client,
    consumer: &consumer::Consumer<consumer::pull::Config>,
    index: usize,
) -> Result<(), String> {
    while client.connection_state() == State::Connected {
        let room = shared.queue().room().min(SWEEP_LIMIT);
        if room == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let batch = consumer.batch().max_messages(room).expires(PULL).messages();
        let mut messages = batch.await.map_err(|error| error.to_string())?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| error.to_string())?;
            let Some((_, object_id)) = message.subject.rsplit_once('.') else { continue };
            if failpoint::pass("hint.received").await.is_err() {
                continue;
            }
            let pushed = shared.push(Key { controller: index, object_id: object_id.to_owned() });
            let answer = match pushed {
                Pushed::Full => AckKind::Nak(Some(Duration::from_secs(1))),
                Pushed::Queued | Pushed::Known => AckKind::Ack,
            };
            message.ack_with(answer).await.map_err(|error| error.to_string())?;
        }
    }
    Err("the broker is away".into())
}

/// Asks the server for due work: every second while hints don't arrive, seldom while they do.
pub async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seconds = 0;
    loop {
        ticks.tick().await;
        let is_due = seconds % SWEEP_WITH_BROKER == 0 || !shared.attached.all(shared.references.len());
        seconds += 1;
        if is_due {
            sweep_once(&shared).await;
        }
    }
}

async fn sweep_once(shared: &Shared) {
    let (room, waiting) = {
        let queue = shared.queue();
        (queue.room(), queue.waiting())
    };
    if room == 0 {
        return;
    }
    // What waits here is still due there: ask for that many more, or the same ones come again and again.
    let limit = i32::try_from(waiting + SWEEP_LIMIT).unwrap_or(i32::MAX);
    let request = v1::SweepRequest { controllers: shared.references.clone(), limit };
    match shared.control.sweep(request).await {
        Ok(items) => {
            for item in items {
                let index = shared.references.iter().position(|known| item.controller.as_ref() == Some(known));
                if let Some(controller) = index {
                    shared.push(Key { controller, object_id: item.object_id });
                }
            }
        }
        Err(error) => tracing::debug!(%error, "could not ask for due work"),
    }
}
