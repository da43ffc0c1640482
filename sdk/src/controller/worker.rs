//! Runs one step of a reconciler: bounded in time, fenced by the lease, and unharmed by panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use threeport::object::Object;
use threeport::v1;

use super::outputs::Outputs;
use super::{Context, Error, LeaseGuard, Next, Reconciler};
use crate::client::ControlClient;

/// A step should not last longer.
const SOFT_LIMIT: Duration = Duration::from_secs(10);

/// A reconciler whose type is forgotten.
pub trait Worker: Send + Sync + 'static {
    fn reference(&self) -> v1::ControllerReference;

    /// The gate of an object just begun.
    fn gate(&self, object: &v1::Object) -> Option<String>;

    /// Runs the step; none if the lease was lost on the way, since then nothing may be reported.
    fn run(self: Arc<Self>, step: Step) -> BoxFuture<'static, Option<v1::FinishItem>>;
}

/// What one step needs.
pub struct Step {
    pub begun: v1::BeginResult,
    pub lease: LeaseGuard,
    pub control: ControlClient,
    pub control_plane_id: Arc<str>,
    /// When to cancel it.
    pub limit: Duration,
}

/// Gives a reconciler the face of a [`Worker`].
pub struct Typed<R>(R);

impl<R: Reconciler> Typed<R> {
    pub fn new(reconciler: R) -> Self {
        Self(reconciler)
    }

    async fn step(&self, context: &mut Context<R::Object>) -> Result<Next, Error> {
        if context.object.is_deleting() { self.0.cleanup(context).await } else { self.0.reconcile(context).await }
    }

    async fn bounded(&self, context: &mut Context<R::Object>, limit: Duration) -> Result<Next, Error> {
        let name = context.object.meta().name.clone();
        let warn = async {
            tokio::time::sleep(SOFT_LIMIT).await;
            tracing::warn!(kind = R::Object::KIND, name, "the step takes longer than {SOFT_LIMIT:?}");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = AssertUnwindSafe(self.step(context)).catch_unwind() => result.unwrap_or_else(|panic| {
                tracing::error!(kind = R::Object::KIND, name, panic = text_of(&*panic), "the reconciler panicked");
                Err(Error::Retry(anyhow::anyhow!("internal error; see the controller's log")))
            }),
            () = warn => unreachable!("the warning never ends"),
            () = tokio::time::sleep(limit) => {
                Err(Error::Retry(anyhow::anyhow!("cancelled after {limit:?}; it is tried again")))
            }
        }
    }
}

impl<R: Reconciler> Worker for Typed<R> {
    fn reference(&self) -> v1::ControllerReference {
        v1::ControllerReference { kind: R::Object::KIND.into(), name: R::CONTROLLER.into() }
    }

    fn gate(&self, object: &v1::Object) -> Option<String> {
        R::Object::from_erased(object.clone()).ok().and_then(|object| self.0.gate(&object))
    }

    fn run(self: Arc<Self>, step: Step) -> BoxFuture<'static, Option<v1::FinishItem>> {
        async move {
            let Step { begun, lease, control, control_plane_id, limit } = step;
            let unread = Unread::of(&begun, self.reference());
            let context = Context::<R::Object>::new(begun, self.reference(), lease.clone(), control, control_plane_id);
            let mut context = match context {
                Ok(context) => context,
                Err(error) => return Some(unread.set_aside(&error)),
            };
            let result = lease.guard(self.bounded(&mut context, limit)).await;
            result.ok().map(|result| context.finish(result))
        }
        .boxed()
    }
}

/// What is known of an object that can't be read as its type.
struct Unread {
    lease: v1::Lease,
    wanted: i64,
    is_deleting: bool,
}

impl Unread {
    fn of(begun: &v1::BeginResult, controller: v1::ControllerReference) -> Self {
        let meta = begun.object.as_ref().and_then(|object| object.meta.clone()).unwrap_or_default();
        let lease = v1::Lease { controller: Some(controller), object_id: meta.id, epoch: begun.epoch };
        Self { lease, wanted: begun.wanted, is_deleting: meta.deleted_at.is_some() }
    }

    /// Spins nothing: an edit brings it back.
    fn set_aside(self, error: &serde_json::Error) -> v1::FinishItem {
        let message = format!("the object can't be read by its controller: {error}");
        let outputs = Outputs {
            events: vec![v1::NewEvent { r#type: "Warning".into(), reason: "Unreadable".into(), note: message.clone() }],
            ..Outputs::default()
        };
        outputs.finish(self.lease, self.wanted, self.is_deleting, Err(Error::give_up("Unreadable", message)))
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
