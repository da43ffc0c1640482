//! Sends the ends of reconciles, those that are ready together in one call.
//!
//! A lone one is sent at once. While all calls are under way, what becomes ready gathers for the next.

use std::sync::Arc;

use threeport::v1;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tonic::Code;

use super::LeaseGuard;
use crate::client::ControlClient;

/// Finish calls at a time.
const CALLS: usize = 4;
/// Items in one call.
const BATCH: usize = 32;

/// Takes items to finish. Cheap to clone.
#[derive(Clone)]
pub struct Finisher {
    items: mpsc::Sender<Pending>,
}

struct Pending {
    lease: LeaseGuard,
    item: v1::FinishItem,
    /// Dropped when all is done.
    done: oneshot::Sender<()>,
}

impl Finisher {
    /// Starts one; it ends when the last clone is dropped.
    pub fn start(control: ControlClient, tasks: &TaskTracker) -> Self {
        let (items, receiver) = mpsc::channel(BATCH * CALLS);
        tasks.spawn(gather(control, receiver, tasks.clone()));
        Self { items }
    }

    /// Returns when the item was stored or dropped.
    pub async fn finish(&self, lease: LeaseGuard, item: v1::FinishItem) {
        let (done, finished) = oneshot::channel();
        if self.items.send(Pending { lease, item, done }).await.is_ok() {
            let _ = finished.await;
        }
    }
}

async fn gather(control: ControlClient, mut items: mpsc::Receiver<Pending>, tasks: TaskTracker) {
    let calls = Arc::new(Semaphore::new(CALLS));
    while let Some(first) = items.recv().await {
        let Ok(permit) = calls.clone().acquire_owned().await else { return };
        let mut batches = vec![vec![first]];
        for _ in 1..BATCH {
            let Ok(pending) = items.try_recv() else { break };
            let replica = pending.lease.replica();
            match batches.iter_mut().find(|batch| batch[0].lease.replica() == replica) {
                Some(batch) => batch.push(pending),
                None => batches.push(vec![pending]),
            }
        }
        let control = control.clone();
        tasks.spawn(async move {
            for batch in batches {
                send(&control, batch).await;
            }
            drop(permit);
        });
    }
}

async fn send(control: &ControlClient, batch: Vec<Pending>) {
    let lease = batch[0].lease.clone();
    let (items, done): (Vec<_>, Vec<_>) = batch.into_iter().map(|pending| (pending.item, pending.done)).unzip();
    match call(control, &lease, items.clone()).await {
        Sent::Answered | Sent::Lost => {}
        Sent::Refused(_) if items.len() > 1 => {
            for item in items {
                send_alone(control, &lease, item).await;
            }
        }
        Sent::Refused(message) => put_off(control, &lease, &items[0], message).await,
    }
    drop(done);
}

async fn send_alone(control: &ControlClient, lease: &LeaseGuard, item: v1::FinishItem) {
    if let Sent::Refused(message) = call(control, lease, vec![item.clone()]).await {
        put_off(control, lease, &item, message).await;
    }
}

/// A report that the server refuses is not stored; its object is tried again by and by, with the refusal as the reason.
async fn put_off(control: &ControlClient, lease: &LeaseGuard, item: &v1::FinishItem, message: String) {
    tracing::error!(object_id = object_id(item), message, "the server refuses what the reconciler reports");
    let bare = v1::FinishItem {
        lease: item.lease.clone(),
        wanted: item.wanted,
        outcome: "retry".into(),
        message: format!("the report was refused: {message}"),
        ..Default::default()
    };
    if let Sent::Refused(message) = call(control, lease, vec![bare]).await {
        tracing::error!(object_id = object_id(item), message, "a lease can't be ended; giving all of them up");
        lease.lose();
    }
}

enum Sent {
    Answered,
    /// Another replica goes on.
    Lost,
    Refused(String),
}

async fn call(control: &ControlClient, lease: &LeaseGuard, items: Vec<v1::FinishItem>) -> Sent {
    let ids = items.iter().map(|item| object_id(item).to_owned()).collect::<Vec<_>>();
    let request = v1::FinishRequest { replica: lease.replica().to_string(), items };
    let response = match lease.guard(control.finish(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if is_unknown(error.code()) => {
            // Held or not: under another id it does not matter.
            tracing::warn!(%error, "could not finish; giving up the leases");
            lease.lose();
            return Sent::Lost;
        }
        Ok(Err(error)) => return Sent::Refused(error.to_string()),
        Err(_) => return Sent::Lost,
    };
    for (result, id) in response.results.iter().zip(ids) {
        if !result.accepted {
            tracing::debug!(object_id = id, "somebody else holds the object by now; dropped what was found");
        } else if !result.child_error.is_empty() {
            tracing::warn!(object_id = id, error = result.child_error, "a child could not be stored");
        }
    }
    Sent::Answered
}

/// Whether the outcome can't be known from the code.
pub fn is_unknown(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal)
}

fn object_id(item: &v1::FinishItem) -> &str {
    item.lease.as_ref().map_or("", |lease| &lease.object_id)
}
