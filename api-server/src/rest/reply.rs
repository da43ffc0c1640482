//! Statuses as HTTP: the code, and google.rpc.Status as JSON.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The HTTP status of a code, after google.rpc.Code.
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// google.rpc.Status as JSON: `{code, message, details}`.
pub fn status_json(status: &Status) -> Value {
    json!({ "code": status.code() as i32, "message": status.message(), "details": details(&status.get_error_details()) })
}

fn details(details: &ErrorDetails) -> Vec<Value> {
    let mut json = Vec::new();
    if let Some(info) = details.error_info() {
        json.push(json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason, "domain": info.domain, "metadata": info.metadata }));
    }
    if let Some(bad) = details.bad_request() {
        let violation = |v: &tonic_types::FieldViolation| json!({ "field": v.field, "description": v.description });
        let violations = bad.field_violations.iter().map(violation).collect::<Vec<_>>();
        json.push(json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": violations }));
    }
    if let Some(failure) = details.precondition_failure() {
        let violation = |v: &tonic_types::PreconditionViolation| json!({ "type": v.r#type, "subject": v.subject, "description": v.description });
        let violations = failure.violations.iter().map(violation).collect::<Vec<_>>();
        json.push(json!({ "@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": violations }));
    }
    if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
        let wait = format!("{:.3}s", wait.as_secs_f64());
        json.push(json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": wait }));
    }
    json
}

/// An error, under the HTTP status of its code.
pub fn error(status: &Status) -> Response<Body> {
    error_as(http_status(status.code()), status)
}

/// An error under another HTTP status, where HTTP tells apart what gRPC doesn't.
pub fn error_as(http: StatusCode, status: &Status) -> Response<Body> {
    let mut response = json_body(http, status_json(status).to_string().into());
    if http == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        // HTTP counts in whole seconds.
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
    }
    response
}

/// 404 for a path that nothing serves.
pub fn no_route(path: &str) -> Response<Body> {
    let path: String = path.chars().take(200).collect();
    error(&Status::not_found(format!("nothing is served at `{path}`; GET /v1/kinds lists the kinds")))
}

/// 405 with the methods that the path has.
pub fn other_methods(method: &Method, path: &str, known: &[&Method]) -> Response<Body> {
    let known = known.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let status = Status::unimplemented(format!("`{path}` has no {method}; use {known}"));
    let mut response = error_as(StatusCode::METHOD_NOT_ALLOWED, &status);
    if let Ok(known) = known.parse() {
        response.headers_mut().insert(ALLOW, known);
    }
    response
}

/// JSON, with its etag if there is one.
pub fn ok(json: Vec<u8>, etag: &str) -> Response<Body> {
    let mut response = json_body(StatusCode::OK, json.into());
    if let (false, Ok(etag)) = (etag.is_empty(), format!("\"{etag}\"").parse()) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// A stream of JSON lines.
pub fn lines(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

/// What a stream ends with, as a line.
pub fn line(status: &Status) -> Vec<u8> {
    format!("{}\n", json!({ "error": status_json(status) })).into_bytes()
}

fn json_body(status: StatusCode, json: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use threeport::json::Violation;

    use super::*;
    use crate::error::Error;

    #[test]
    fn errors_carry_their_details() {
        let status = Status::from(Error::Invalid(vec![Violation::new("spec.image", "must not be empty")]));
        let json = status_json(&status);
        assert_eq!(json["code"], 3);
        assert_eq!(json["message"], "spec.image: must not be empty");
        assert_eq!(json["details"][0]["reason"], "Invalid");
        assert_eq!(json["details"][1]["field_violations"][0]["field"], "spec.image");
    }

    #[test]
    fn every_code_has_a_status_and_bad_input_is_never_ours() {
        for code in (0..17).map(Code::from) {
            let is_ours = http_status(code).is_server_error();
            let blames_us = [Code::Unknown, Code::Internal, Code::DataLoss, Code::Unavailable];
            let may_be_either = [Code::DeadlineExceeded, Code::Unimplemented];
            assert_eq!(is_ours, blames_us.contains(&code) || may_be_either.contains(&code), "{code:?}");
        }
    }
}
