//! The runtime of controllers: leases, hints, queue, retries, drain and metrics. A controller brings a [`Reconciler`].
//!
//! Guarantees:
//! - One reconcile per object and controller at a time, over all replicas.
//! - Whatever can change an object's outcome leads to another reconcile, with or without a broker.
//! - What a reconcile reports is stored in one transaction, or not at all if somebody else holds the object by then.
//!
//! Caveats: a reconcile may die at any `.await` and begin again elsewhere, so every step must bear repetition; and calls
//! to the world are fenced only if they go through [`Context::lease`].

mod context;
mod dispatch;
mod finisher;
mod hints;
mod lease;
mod outputs;
mod queue;
mod reconciler;
mod replica;
mod runner;
mod worker;

pub use tokio_util::sync::CancellationToken;

pub use self::context::{ConditionStatus, Context, EventType};
pub use self::lease::LeaseGuard;
pub use self::reconciler::{Error, Next, Reconciler};
pub use self::runner::{Health, Runner, RunnerConfig};
