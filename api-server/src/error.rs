//! The one error of this crate and its only mapping to status codes, gRPC and HTTP alike.

use std::collections::HashMap;
use std::time::Duration;

use threeport::json::Violation;
use threeport::{bounded, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{kind} `{name}` not found")]
    NotFound { kind: String, name: String },
    /// Several that were asked for by name.
    #[error("not found: {}", bounded::listed(.0, ", "))]
    NotThere(Vec<String>),
    #[error("unknown kind `{0}`; `tptctl kinds` and GET /v1/kinds list them")]
    UnknownKind(String),
    #[error("{kind} `{name}` already exists")]
    AlreadyExists { kind: String, name: String },
    #[error("{kind} `{name}` changed since it was read; read it again and retry")]
    Stale { kind: String, name: String },
    /// `users` are references such as ``workload-instance `web-1` ``.
    #[error(
        "{kind} `{name}` is used by {}; delete {} first",
        bounded::listed(users, ", "),
        if users.len() == 1 { "it" } else { "them" }
    )]
    InUse { kind: String, name: String, users: Vec<String> },
    #[error("{kind} `{name}` is being deleted; retry when it is gone")]
    BeingDeleted { kind: String, name: String },
    #[error("{kind} `{name}` is owned by {owner}; edit that instead")]
    Owned { kind: String, name: String, owner: String },
    #[error("{}", bounded::listed(&.0.iter().map(ToString::to_string).collect::<Vec<_>>(), "; "))]
    Invalid(Vec<Violation>),
    /// Anything else that the present state forbids; `reason` is a CamelCase constant.
    #[error("{message}")]
    Precondition { reason: &'static str, message: String },
    #[error("missing or unknown bearer token; pass the token of a context")]
    Unauthenticated,
    #[error("{0}")]
    Denied(String),
    #[error("position {position} is older than the log keeps (first: {first}); list again and watch from there")]
    PositionGone { position: i64, first: i64 },
    #[error(
        "position {position} is past the log's end ({last}): it is another log's, or of one restored since; list again and watch from there"
    )]
    PositionAhead { position: i64, last: i64 },
    #[error("request_id `{0}` was used with another request; choose a new one")]
    RequestIdReused(String),
    #[error("{0}")]
    TooMuch(String),
    /// The same request may pass after this long.
    #[error("{message}")]
    Busy { message: String, retry_after: Duration },
    #[error("timed out; retry")]
    Timeout,
    #[error("{}", if is_connection_lost(.0) { "lost the database connection; retry" } else { "database error" })]
    Database(#[from] tokio_postgres::Error),
    #[error("no database connection; retry")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// What was read changed before it was locked: the transaction runs again, so callers see this only under a storm of writes.
    #[error("changed by others while it was written; retry")]
    Conflict,
    #[error("database migration failed")]
    Migration(#[from] Box<refinery::Error>),
    /// The process can't run as it was configured.
    #[error("{0}")]
    Configuration(String),
    /// Stored data that can't be read; the text goes to the log alone.
    #[error("stored object is corrupt")]
    Corrupt(String),
}

impl Error {
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Error::Invalid(vec![Violation::new(field, description)])
    }

    pub fn code(&self) -> Code {
        match self {
            Error::NotFound { .. } | Error::NotThere(_) | Error::UnknownKind(_) => Code::NotFound,
            Error::AlreadyExists { .. } | Error::RequestIdReused(_) => Code::AlreadyExists,
            Error::Stale { .. } | Error::Conflict => Code::Aborted,
            Error::InUse { .. } | Error::BeingDeleted { .. } | Error::Owned { .. } | Error::Precondition { .. } => {
                Code::FailedPrecondition
            }
            Error::Invalid(_) => Code::InvalidArgument,
            Error::Unauthenticated => Code::Unauthenticated,
            Error::Denied(_) => Code::PermissionDenied,
            Error::PositionGone { .. } | Error::PositionAhead { .. } => Code::OutOfRange,
            Error::TooMuch(_) | Error::Busy { .. } => Code::ResourceExhausted,
            Error::Timeout => Code::DeadlineExceeded,
            Error::Pool(_) => Code::Unavailable,
            Error::Database(error) if is_connection_lost(error) => Code::Unavailable,
            Error::Database(_) | Error::Migration(_) | Error::Configuration(_) | Error::Corrupt(_) => Code::Internal,
        }
    }

    /// The CamelCase constant that programs match on.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::NotFound { .. } | Error::NotThere(_) => "NotFound",
            Error::UnknownKind(_) => "UnknownKind",
            Error::AlreadyExists { .. } => "AlreadyExists",
            Error::Stale { .. } => "Stale",
            Error::InUse { .. } => "InUse",
            Error::BeingDeleted { .. } => "BeingDeleted",
            Error::Owned { .. } => "Owned",
            Error::Invalid(_) => "Invalid",
            Error::Precondition { reason, .. } => reason,
            Error::Unauthenticated => "Unauthenticated",
            Error::Denied(_) => "Denied",
            Error::PositionGone { .. } => "PositionGone",
            Error::PositionAhead { .. } => "PositionAhead",
            Error::RequestIdReused(_) => "RequestIdReused",
            Error::TooMuch(_) => "TooMuch",
            Error::Busy { .. } => "Busy",
            Error::Timeout => "Timeout",
            Error::Pool(_) => "Unavailable",
            Error::Database(error) if is_connection_lost(error) => "Unavailable",
            Error::Conflict => "Conflict",
            Error::Database(_) | Error::Migration(_) | Error::Configuration(_) | Error::Corrupt(_) => "Internal",
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let code = error.code();
        if matches!(code, Code::Internal | Code::Unavailable) {
            // Causes may name tables and hosts: they go to the log, not to the caller.
            tracing::error!(cause = %Chain(&error), "request failed");
        }
        if let Error::Invalid(violations) = &error {
            return json::invalid(violations);
        }
        let message = bounded::cut(&error.to_string(), bounded::MESSAGE);
        let mut details = ErrorDetails::with_error_info(error.reason(), "threeport.io", HashMap::new());
        if let Error::Busy { retry_after, .. } = &error {
            details.set_retry_info(Some(*retry_after));
        }
        if let Error::InUse { kind, name, .. } | Error::BeingDeleted { kind, name } | Error::Owned { kind, name, .. } =
            &error
        {
            let violation = PreconditionViolation::new(error.reason(), format!("{kind}/{name}"), &message);
            details.set_precondition_failure(vec![violation]);
        }
        Status::with_error_details(code, message, details)
    }
}

/// Whether the server went away under a query, rather than refused it: class 08, 57P, or no answer at all.
fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(state) => state.code().starts_with("08") || state.code().starts_with("57P"),
        None => {
            error.is_closed()
                || std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        }
    }
}

/// Displays an error followed by its causes: `database error: connection closed`.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_see_what_to_fix_but_not_our_internals() {
        let users = vec!["workload-instance `web-1`".to_owned()];
        let status = Status::from(Error::InUse { kind: "workload-definition".into(), name: "web".into(), users });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "workload-definition `web` is used by workload-instance `web-1`; delete it first");
        let status = Status::from(Error::Corrupt("table objects".into()));
        assert_eq!(status.message(), "stored object is corrupt");
    }
}
