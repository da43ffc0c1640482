//! From the queue to a running step: Begin in batches, a task for each object, Finish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use threeport::telemetry::set_parent;
use threeport::v1;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use super::finisher::is_unknown;
use super::queue::Key;
use super::replica::Replica;
use super::runner::Shared;
use super::worker::Step;

/// Begin calls at a time; while they are under way, what becomes ready gathers for the next.
const CALLS: usize = 4;
/// Objects in one call.
const BATCH: usize = 16;
/// How long a Begin may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Begins work for as long as the replica may; false on shutdown.
pub async fn begin_while_held(shared: &Arc<Shared>, replica: &Arc<Replica>, shutdown: &CancellationToken) -> bool {
    let calls = Arc::new(Semaphore::new(CALLS));
    loop {
        if shutdown.is_cancelled() {
            return false;
        }
        if replica.is_over() {
            return true;
        }
        if let Ok(permit) = calls.clone().try_acquire_owned() {
            let keys = take(shared);
            if !keys.is_empty() {
                let (shared, replica) = (shared.clone(), replica.clone());
                shared.tasks.clone().spawn(async move {
                    begin(&shared, &replica, keys).await;
                    drop(permit);
                    shared.changed.notify_one();
                });
                continue;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = replica.lease().lost() => {}
            () = shared.changed.notified() => {}
        }
    }
}

fn take(shared: &Shared) -> Vec<Key> {
    let mut queue = shared.queue();
    let free = shared.config.concurrency.saturating_sub(queue.running());
    let keys = queue.take(free.min(BATCH));
    #[expect(clippy::cast_precision_loss, reason = "queues are far shorter than 2^52")]
    metrics::gauge!("threeport_queue_length").set(queue.waiting() as f64);
    keys
}

async fn begin(shared: &Arc<Shared>, replica: &Arc<Replica>, keys: Vec<Key>) {
    // Held from before the leases are taken, or a retired replica could leave under them.
    let works = keys.iter().map(|_| replica.work()).collect::<Vec<_>>();
    let item = |key: &Key| v1::BeginItem {
        controller: Some(shared.references[key.controller].clone()),
        object_id: key.object_id.clone(),
    };
    let request =
        v1::BeginRequest { replica: replica.lease().replica().to_string(), items: keys.iter().map(item).collect() };
    let answer = replica.lease().guard(shared.control.begin(request, LIMIT)).await;
    let results = match answer {
        Ok(Ok(response)) => response.results,
        Ok(Err(error)) => {
            tracing::warn!(%error, "could not begin");
            if is_unknown(error.code()) {
                replica.retire();
                return put_back(shared, &keys);
            }
            Vec::new()
        }
        Err(_) => return put_back(shared, &keys),
    };
    let mut results = results.into_iter();
    for (key, work) in keys.into_iter().zip(works) {
        match results.next() {
            Some(begun) if begun.outcome == "begun" => start(shared, replica, key, begun, work),
            // Busy, idle or gone: whatever is still wanted comes back as a hint.
            _ => shared.ended(&key),
        }
    }
}

/// Nothing was begun as far as anybody knows: the objects wait again, for another replica id.
fn put_back(shared: &Shared, keys: &[Key]) {
    for key in keys {
        shared.queue().push(key.clone());
        shared.ended(key);
    }
}

fn start(shared: &Arc<Shared>, replica: &Arc<Replica>, key: Key, begun: v1::BeginResult, work: TaskTrackerToken) {
    let worker = &shared.workers[key.controller];
    let object = begun.object.clone().unwrap_or_default();
    let meta = object.meta.clone().unwrap_or_default();
    let is_admitted = shared.queue().begun(&key, &meta.project, worker.gate(&object));
    let span = tracing::info_span!(
        "reconcile",
        otel.name = format!("reconcile {}", object.kind),
        kind = object.kind,
        project = meta.project,
        name = meta.name,
        attempt = begun.attempts
    );
    set_parent(&span, &begun.traceparent);
    let (shared, replica) = (shared.clone(), replica.clone());
    shared.tasks.clone().spawn(
        async move {
            if is_admitted {
                reconcile(&shared, &replica, &key, begun).await;
            } else {
                release(&shared, &replica, &key, &begun).await;
            }
            drop(work);
            shared.ended(&key);
        }
        .instrument(span),
    );
}

async fn reconcile(shared: &Arc<Shared>, replica: &Replica, key: &Key, begun: v1::BeginResult) {
    let reference = &shared.references[key.controller];
    let started = Instant::now();
    let epoch = begun.epoch;
    tracing::debug!(object_id = key.object_id, controller = reference.name, epoch, "begun");
    let step = Step {
        begun,
        lease: replica.lease().clone(),
        control: shared.control.clone(),
        control_plane_id: replica.control_plane_id(),
        limit: shared.config.step_limit,
    };
    let item = shared.workers[key.controller].clone().run(step).await;
    let outcome = item.as_ref().map_or("lost", |item| item.outcome.as_str()).to_owned();
    tracing::debug!(object_id = key.object_id, controller = reference.name, epoch, outcome, "ended");
    let labels = [("kind", reference.kind.clone()), ("controller", reference.name.clone())];
    metrics::histogram!("threeport_reconcile_seconds", &labels).record(started.elapsed());
    metrics::counter!("threeport_reconciles_total", "kind" => reference.kind.clone(),
        "controller" => reference.name.clone(), "outcome" => outcome.clone())
    .increment(1);
    let Some(item) = item else { return };
    if item.message.is_empty() {
        tracing::debug!(outcome, elapsed = ?started.elapsed(), "reconciled");
    } else {
        tracing::info!(outcome, elapsed = ?started.elapsed(), message = item.message, "not reconciled");
    }
    shared.finisher.finish(replica.lease().clone(), item).await;
}

/// Puts back an object whose gate turned out to be full. From now on it waits in the queue. Nothing was looked at, so it
/// stays wanted; nothing failed, so there is no message and with that no event.
async fn release(shared: &Shared, replica: &Replica, key: &Key, begun: &v1::BeginResult) {
    let lease = v1::Lease {
        controller: Some(shared.references[key.controller].clone()),
        object_id: key.object_id.clone(),
        epoch: begun.epoch,
    };
    let item =
        v1::FinishItem { lease: Some(lease), wanted: begun.wanted, outcome: "retry".into(), ..Default::default() };
    shared.finisher.finish(replica.lease().clone(), item).await;
}
