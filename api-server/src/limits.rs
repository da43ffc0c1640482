//! Bounds on body, time, rate and concurrency, for gRPC and REST alike; and panics stop here.

mod rate;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;

use self::rate::Rates;
use crate::auth::Caller;
use crate::error::{Error, Result};

/// The largest request.
pub const BODY: usize = 4 << 20;
/// The same for controllers, who finish many objects at once.
pub const CONTROL_BODY: usize = 32 << 20;
/// Headers, all together.
pub const HEADERS: u32 = 64 << 10;
/// Connections at a time; others wait to be accepted.
pub const CONNECTIONS: usize = 4096;
/// Streams at a time on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION: u32 = 512;
/// How long an answer may take, or a stream to begin.
pub const TIME: Duration = Duration::from_secs(30);
/// Requests at work at a time; more are refused at once, not queued.
const REQUESTS: usize = 1024;
/// Answers being streamed at a time.
const STREAMS: usize = 4096;
/// What passes within moments is worth trying again after this long.
const SOON: Duration = Duration::from_millis(100);

/// The largest request of a method.
pub fn body_limit(path: &str) -> usize {
    if path.starts_with("/threeport.v1.ControlService/") { CONTROL_BODY } else { BODY }
}

/// What is said of a request over the limit.
pub fn too_large(limit: usize) -> Status {
    Error::TooMuch(format!("request is larger than {} MiB; send fewer objects at once", limit >> 20)).into()
}

/// Counts requests and streams, by caller and all together, and ends streams on shutdown.
#[derive(Clone)]
pub struct Limits {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    rates: Arc<Rates>,
    shutdown: CancellationToken,
}

impl Limits {
    /// `rate` is how many calls a second one identity may make.
    pub fn new(rate: u32, shutdown: CancellationToken) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            rates: Arc::new(Rates::new(rate)),
            shutdown,
        }
    }

    /// Counts a call of this caller.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, with the time to wait.
    pub fn count(&self, caller: &Caller) -> Result<()> {
        self.rates.take(&caller.identity, Instant::now()).map_err(|retry_after| {
            let message = format!("too many requests a second by `{}`; slow down", caller.identity);
            Error::Busy { message, retry_after }
        })
    }

    /// Runs `call` within all limits. `is_stream` says that the answer may go on for long.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, `DEADLINE_EXCEEDED`, and `INTERNAL` after a panic.
    pub async fn run<F, T>(&self, request: Request<Body>, is_stream: bool, call: F) -> Result<Response<Body>, Status>
    where
        F: FnOnce(Request<Body>) -> T,
        T: Future<Output = Response<Body>>,
    {
        let busy = || Error::Busy { message: "too many requests at once; retry".to_owned(), retry_after: SOON };
        let permit = self.requests.clone().try_acquire_owned().map_err(|_| busy())?;
        let stream = is_stream.then(|| self.streams.clone().try_acquire_owned()).transpose().map_err(|_| busy())?;
        let time = grpc_timeout(request.headers()).map_or(TIME, |wanted| wanted.min(TIME));
        let limit = body_limit(request.uri().path());
        let request = request.map(|body| Body::new(Limited::new(body, limit).map_err(move |error| over(error, limit))));
        let answer = tokio::time::timeout(time, AssertUnwindSafe(call(request)).catch_unwind()).await;
        drop(permit);
        let response = answer.map_err(|_| Error::Timeout)?.map_err(|panic| panicked(panic.as_ref()))?;
        Ok(match stream {
            Some(permit) => response.map(|body| {
                let ended = Box::pin(self.shutdown.clone().cancelled_owned());
                Body::new(Bounded { body, ended, _permit: permit })
            }),
            None => response,
        })
    }
}

/// tonic keeps a status that a body fails with.
fn over(error: Box<dyn std::error::Error + Send + Sync>, limit: usize) -> Status {
    if error.is::<http_body_util::LengthLimitError>() {
        return too_large(limit);
    }
    Status::from_error(error)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a request panicked");
    Status::internal("internal error; the server's log has it")
}

/// The caller's own deadline: `250m` is 250 milliseconds.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value = value.parse::<u32>().ok()?;
    let value = u64::from(value);
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// An answer that holds its place among the streams and ends when the server shuts down.
struct Bounded {
    body: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.ended.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let status = Status::unavailable("the server is shutting down; resume from the last position");
        let mut trailers = HeaderMap::new();
        self.body = Body::empty();
        match status.add_header(&mut trailers) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Err(status) => Poll::Ready(Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_without_its_text() {
        let limits = Limits::new(1, CancellationToken::new());
        let answer = limits.run(Request::new(Body::empty()), false, |_| async { panic!("a secret") }).await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
    }

    #[test]
    fn deadlines_of_callers_are_read() {
        let read = |text: &str| {
            grpc_timeout(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]))
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read(""), None);
        assert_eq!(read("x"), None);
    }
}
