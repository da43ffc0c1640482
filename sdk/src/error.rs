//! The one error of this crate.

use threeport::json::Violation;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::document::Problem;

/// What can go wrong between a caller and the API server. Never holds a token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server's answer; the text is its own.
    #[error("{}", .0.message())]
    Refused(Box<Status>),
    #[error("can't reach the API server at {server}; is it running? (`tptctl up` starts one)")]
    Unreachable {
        server: String,
        #[source]
        source: Box<Status>,
    },
    #[error("the API server did not answer within {0:?}; retry")]
    Timeout(std::time::Duration),
    #[error("{0}")]
    Configuration(String),
    #[error("can't read {kind} `{name}` as answered: {message}; is the server of another version?")]
    Malformed { kind: String, name: String, message: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Documents(Vec<Problem>),
}

impl Error {
    /// The gRPC code that fits best.
    pub fn code(&self) -> Code {
        match self {
            Error::Refused(status) => status.code(),
            Error::Unreachable { .. } => Code::Unavailable,
            Error::Timeout(_) => Code::DeadlineExceeded,
            Error::Configuration(_) | Error::Documents(_) => Code::InvalidArgument,
            Error::Malformed { .. } => Code::Internal,
        }
    }

    /// The server's CamelCase constant, such as `InUse`; empty if the error isn't the server's.
    pub fn reason(&self) -> String {
        match self {
            Error::Refused(status) => reason_of(status),
            _ => String::new(),
        }
    }

    /// What is wrong with the request, field by field.
    pub fn violations(&self) -> Vec<Violation> {
        let Error::Refused(status) = self else { return Vec::new() };
        let fields = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
        fields.into_iter().map(|violation| Violation::new(violation.field, violation.description)).collect()
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Code::NotFound
    }
}

/// The reason in a status' `ErrorInfo`; empty without one.
pub fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn reason_and_violations_are_read_from_the_details() {
        let mut details = ErrorDetails::with_error_info("Invalid", "threeport.io", HashMap::new());
        details.add_bad_request_violation("spec.image", "is required");
        let status = Status::with_error_details(Code::InvalidArgument, "spec.image: is required", details);
        let error = Error::Refused(Box::new(status));
        assert_eq!(error.to_string(), "spec.image: is required");
        assert_eq!(error.reason(), "Invalid");
        assert_eq!(error.violations(), [Violation::new("spec.image", "is required")]);
        assert!(!error.is_not_found());
    }
}
