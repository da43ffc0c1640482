//! What a cluster may answer instead of doing as asked, in its own words.

use std::time::Duration;

use serde_json::Value;

pub type Result<T> = std::result::Result<T, Error>;

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    pub manager: String,
    /// As the cluster writes it: `.spec.replicas`.
    pub field: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Other managers own fields that the apply sets.
    #[error("{message}")]
    Conflict { message: String, conflicts: Vec<FieldConflict> },
    /// The object is no longer the one (uid) or as new (resourceVersion) as the call assumed: read again.
    #[error("{0}")]
    Stale(String),
    #[error("{0}")]
    AlreadyExists(String),
    #[error("{0}")]
    NotFound(String),
    /// The namespace is being deleted.
    #[error("{0}")]
    Terminating(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("the cluster refuses the credentials: {0}")]
    Unauthorized(String),
    /// The object itself is wrong; only an edit helps.
    #[error("{0}")]
    Invalid(String),
    #[error("the cluster asks for patience: {message}")]
    Throttled { message: String, retry_after: Duration },
    /// The cluster doesn't serve this kind of resource.
    #[error("the cluster knows no kind `{kind}` in `{api_version}`")]
    UnknownKind { api_version: String, kind: String },
    /// A watch can't go on from where it was.
    #[error("{0}")]
    Expired(String),
    /// No answer: connection refused, broken or timed out, or the breaker is open.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer to this call, of a cluster that answers others.
    #[error("{0}")]
    TimedOut(String),
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether asking again may help without an edit.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Conflict { .. } | Self::Invalid(_))
    }

    /// A CamelCase constant for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "Conflict",
            Self::Stale(_) | Self::AlreadyExists(_) => "Stale",
            Self::NotFound(_) => "NotFound",
            Self::Terminating(_) => "NamespaceTerminating",
            Self::Forbidden(_) => "Forbidden",
            Self::Unauthorized(_) => "Unauthorized",
            Self::Invalid(_) => "Invalid",
            Self::Throttled { .. } => "Throttled",
            Self::UnknownKind { .. } => "UnknownKind",
            Self::Expired(_) => "Expired",
            Self::Unreachable(_) => "Unreachable",
            Self::TimedOut(_) => "TimedOut",
            Self::Other(_) => "ClusterError",
        }
    }

    /// Classifies an answer that isn't 2xx.
    pub fn from_answer(code: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let status = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let message = match status["message"].as_str() {
            Some(message) if !message.is_empty() => message.to_owned(),
            _ => format!("HTTP status {code}: {}", String::from_utf8_lossy(&body[..body.len().min(200)])),
        };
        Self::classify(code, retry_after, &status, message)
    }

    fn classify(code: u16, retry_after: Option<Duration>, status: &Value, message: String) -> Self {
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        let caused_by = |reason: &str| causes.iter().any(|cause| cause["reason"] == reason);
        match code {
            409 if caused_by("FieldManagerConflict") => {
                Self::Conflict { message, conflicts: causes.iter().filter_map(field_conflict).collect() }
            }
            409 if status["reason"] == "AlreadyExists" => Self::AlreadyExists(message),
            409 => Self::Stale(message),
            403 if caused_by("NamespaceTerminating") => Self::Terminating(message),
            403 => Self::Forbidden(message),
            401 => Self::Unauthorized(message),
            404 => Self::NotFound(message),
            410 => Self::Expired(message),
            // An apply with a uid to an absent object.
            422 if message.contains("uid mismatch") || message.contains("metadata.uid") => Self::Stale(message),
            // Of a kind whose definition is being deleted.
            405 if message.contains("is terminating") => Self::Terminating(message),
            400 | 405 | 413 | 415 | 422 => Self::Invalid(message),
            // What a schema can't read comes as an internal error: `replicas: three`, a field that the kind lacks.
            500 if message.contains("failed to create typed patch object") => Self::Invalid(message),
            429 => Self::Throttled { message, retry_after: retry_after.unwrap_or(Duration::from_secs(1)) },
            503 | 504 => match retry_after {
                Some(retry_after) => Self::Throttled { message, retry_after },
                None => Self::Other(message),
            },
            _ => Self::Other(message),
        }
    }
}

/// Reads `conflict with "kubectl" using apps/v1`.
fn field_conflict(cause: &Value) -> Option<FieldConflict> {
    let message = cause["message"].as_str()?;
    let manager = message.split('"').nth(1)?;
    Some(FieldConflict { manager: manager.to_owned(), field: cause["field"].as_str().unwrap_or_default().to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, status: &Value) -> Error {
        Error::from_answer(code, None, status.to_string().as_bytes())
    }

    #[test]
    fn a_conflict_names_the_managers_and_fields() {
        let error = answer(
            409,
            &json!({ "message": "Apply failed with 1 conflict", "details": { "causes": [
                { "reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas" }
            ]}}),
        );
        let Error::Conflict { conflicts, .. } = error else { panic!("{error:?}") };
        assert_eq!(conflicts, [FieldConflict { manager: "kubectl".into(), field: ".spec.replicas".into() }]);
    }

    #[test]
    fn a_changed_object_is_stale_and_a_dying_namespace_is_told_apart() {
        assert!(matches!(answer(409, &json!({ "message": "object has been modified" })), Error::Stale(_)));
        let dying =
            json!({ "message": "being terminated", "details": { "causes": [{ "reason": "NamespaceTerminating" }] } });
        assert!(matches!(answer(403, &dying), Error::Terminating(_)));
    }

    #[test]
    fn what_no_schema_can_read_is_the_manifests_fault() {
        let body = json!({ "message": "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.replicas: expected numeric" });
        assert!(matches!(answer(500, &body), Error::Invalid(_)));
    }

    #[test]
    fn answers_that_are_no_status_are_quoted() {
        let error = Error::from_answer(502, None, b"<html>bad gateway</html>");
        assert_eq!(error, Error::Other("HTTP status 502: <html>bad gateway</html>".into()));
    }
}
