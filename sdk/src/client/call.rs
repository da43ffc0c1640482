//! One call: authorization, trace context, time limit and retries.

use std::error::Error as _;
use std::future::Future;
use std::time::{Duration, Instant};

use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use tracing::Instrument;

use super::Client;
use crate::Error;
use crate::backoff::Backoff;
use crate::error::reason_of;

/// Whether a call may be sent again when its outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It reads, or carries a request id.
    Safe,
    /// The caller decides.
    Never,
}

impl Client {
    /// Calls until the client's time-out: `UNAVAILABLE`, `BeingDeleted` and what says when to retry are tried again.
    pub(super) async fn call<Q, A, F>(
        &self,
        name: &'static str,
        request: Q,
        send: impl Fn(Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.call_within(name, self.timeout, Retry::Safe, request, send).await
    }

    pub(super) async fn call_within<Q, A, F>(
        &self,
        name: &'static str,
        limit: Duration,
        retry: Retry,
        request: Q,
        send: impl Fn(Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let span = match name {
            // What beats like a heart would drown the traces of what was asked for.
            "Renew" | "Sweep" => tracing::debug_span!("call", otel.name = name, otel.kind = "client"),
            _ => tracing::info_span!("call", otel.name = name, otel.kind = "client", rpc.method = name),
        };
        self.attempts(limit, retry, request, send).instrument(span).await
    }

    async fn attempts<Q, A, F>(
        &self,
        limit: Duration,
        retry: Retry,
        message: Q,
        send: impl Fn(Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + limit;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = self.prepare(message.clone());
            request.set_timeout(left);
            let status = match tokio::time::timeout(left, send(request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => return Err(Error::Timeout(limit)),
            };
            // Those who were refused together don't come back together.
            let wait = retry_after(&status).unwrap_or_default().min(limit) + backoff.wait();
            if retry == Retry::Never || !is_temporary(&status) || Instant::now() + wait >= deadline {
                return Err(self.failure(status, limit));
            }
            tracing::debug!(code = ?status.code(), ?wait, "the call is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// A request with authorization and trace context.
    pub(super) fn prepare<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        threeport::telemetry::inject(request.metadata_mut());
        request
    }

    pub(super) fn failure(&self, status: Status, limit: Duration) -> Error {
        let is_timer = status.code() == Code::Cancelled && status.source().is_some();
        if is_timer {
            Error::Timeout(limit)
        } else if is_transport(&status) {
            Error::Unreachable { server: self.server.clone(), source: Box::new(status) }
        } else {
            Error::Refused(Box::new(status))
        }
    }
}

/// Whether the same call may succeed a little later.
pub fn is_temporary(status: &Status) -> bool {
    status.code() == Code::Unavailable
        || is_transport(status)
        || reason_of(status) == "BeingDeleted"
        || (status.code() == Code::ResourceExhausted && retry_after(status).is_some())
}

/// How long the server asks to wait, at least.
fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Whether the connection failed, rather than the server: only local failures carry a source.
fn is_transport(status: &Status) -> bool {
    status.source().is_some() && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::client::Connection;

    fn client(timeout: Duration) -> Client {
        let connection = Connection { server: "http://127.0.0.1:1".into(), token: "t".into() };
        Client::connect(&connection).unwrap().with_timeout(timeout)
    }

    fn being_deleted() -> Status {
        let details = ErrorDetails::with_error_info("BeingDeleted", "threeport.io", HashMap::new());
        Status::with_error_details(Code::FailedPrecondition, "is being deleted", details)
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_with_the_same_request() {
        let tries = AtomicU32::new(0);
        let answer = client(Duration::from_secs(5))
            .call("test", "id", async |request: Request<&str>| {
                assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer t");
                match tries.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(Status::unavailable("restarting")),
                    1 => Err(being_deleted()),
                    _ => Ok(Response::new(request.into_inner())),
                }
            })
            .await;
        assert_eq!((answer.unwrap(), tries.into_inner()), ("id", 3));
    }

    #[tokio::test]
    async fn who_is_asked_to_slow_down_waits_as_long_as_asked() {
        let (tries, started) = (AtomicU32::new(0), Instant::now());
        let answer = client(Duration::from_secs(5))
            .call("test", (), async |_| match tries.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(300)));
                    Err(Status::with_error_details(Code::ResourceExhausted, "slow down", details))
                }
                _ => Ok(Response::new(())),
            })
            .await;
        answer.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
        let too_large = Status::resource_exhausted("request is larger than 4 MiB; send fewer objects at once");
        assert!(!is_temporary(&too_large));
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let tries = AtomicU32::new(0);
        let answer: Result<(), Error> = client(Duration::from_secs(5))
            .call("test", (), async |_| {
                tries.fetch_add(1, Ordering::Relaxed);
                Err(Status::not_found("workload `web` not found"))
            })
            .await;
        assert!(answer.unwrap_err().is_not_found());
        assert_eq!(tries.into_inner(), 1);
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        let error = client(Duration::from_millis(200)).kinds().await.unwrap_err();
        assert!(error.to_string().starts_with("can't reach the API server at http://127.0.0.1:1"), "{error}");
    }
}
