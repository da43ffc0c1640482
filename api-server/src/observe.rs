//! A span and metrics for every request.

use std::time::Instant;

use http::{HeaderMap, Response};
use threeport::telemetry::{TRACEPARENT, set_parent};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument;

/// Runs a request in a span whose parent is the caller's, counts it and takes its time. `method` is the gRPC path.
pub async fn request(
    method: &str,
    protocol: &'static str,
    headers: &HeaderMap,
    answer: impl Future<Output = (Code, Response<Body>)>,
) -> Response<Body> {
    let method = method.trim_start_matches('/').to_owned();
    let span = tracing::info_span!("request", otel.name = method, method, protocol, code = tracing::field::Empty);
    let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    set_parent(&span, traceparent);
    let began = Instant::now();
    let (code, response) = answer.instrument(span.clone()).await;
    let taken = began.elapsed();
    let code = format!("{code:?}");
    span.record("code", &code);
    span.in_scope(|| tracing::debug!(method, code, milliseconds = taken.as_secs_f64() * 1000.0, "request answered"));
    metrics::counter!("threeport_requests_total", "method" => method.clone(), "code" => code.clone(), "protocol" => protocol)
        .increment(1);
    metrics::histogram!("threeport_request_seconds", "method" => method, "code" => code).record(taken.as_secs_f64());
    response
}

/// The code of a gRPC answer, as far as its headers tell: a stream may yet fail.
pub fn code_of(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}
