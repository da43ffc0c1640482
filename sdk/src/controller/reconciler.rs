//! What a controller brings, and the whole of what it may answer.

use std::future::Future;
use std::time::Duration;

use threeport::object::Object;

use super::Context;

/// Makes objects of a kind so.
///
/// It gets the present, never an event: read, decide, act, return. Both functions are idempotent and may die at any
/// `.await`; a step lasts at most 10 s, longer work is started and looked at again by [`Next::CheckIn`].
pub trait Reconciler: Send + Sync + 'static {
    type Object: Object;

    /// The controller's name, which is also what its token and hints are for.
    const CONTROLLER: &'static str;

    /// The kinds of object that it may own under its own; said to the server by `custom::register`.
    const OWNS: &'static [&'static str] = &[];

    /// Makes the object so and reports its status.
    fn reconcile(&self, context: &mut Context<Self::Object>) -> impl Future<Output = Result<Next, Error>> + Send;

    /// Removes what was made outside the control plane for an object being deleted; [`Next::Done`] says that everything
    /// is proved gone. What the object owns has gone before it.
    fn cleanup(&self, context: &mut Context<Self::Object>) -> impl Future<Output = Result<Next, Error>> + Send;

    /// What the object's work depends on, such as a cluster: objects of one gate share a cap, so that one dead cluster
    /// can't hold all slots. None for no cap.
    fn gate(&self, _object: &Self::Object) -> Option<String> {
        None
    }
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Done,
    /// After this long, or when something changes. Waiting for something is this, never an error.
    CheckIn(Duration),
}

/// Why a reconcile failed.
#[derive(Debug)]
pub enum Error {
    /// May work later: tried again with a back-off from 100 ms to 5 minutes.
    Retry(anyhow::Error),
    /// Can't work until somebody edits something; `reason` is a CamelCase constant, `message` says what to do.
    GiveUp { reason: String, message: String },
}

impl Error {
    pub fn give_up(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Error::GiveUp { reason: reason.into(), message: message.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Retry(error) => write!(f, "{error:#}"),
            Error::GiveUp { reason, message } => write!(f, "{reason}: {message}"),
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Error::Retry(error)
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Error::Retry(error.into())
    }
}
