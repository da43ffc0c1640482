//! One call to a cluster's API: limited in time and number, behind the breaker, with a span of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;
use threeport::failpoint;
use threeport::v1::ResourceReference;
use tokio::sync::Semaphore;
use tracing::{Instrument, info_span};

use super::breaker::{Admission, Breaker, End, Silence};
use super::error::{Error, Result};
use super::metering::{Meter, code};

const TIMEOUT: Duration = Duration::from_secs(8);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const SILENCE_CHECK: Duration = Duration::from_millis(250);
/// More calls at once gain nothing on an API server and lengthen its tail.
const IN_FLIGHT: usize = 32;
/// Services are created one after another inside the API server.
const SERVICES_IN_FLIGHT: usize = 3;

pub const APPLY: &str = "application/apply-patch+yaml";
pub const MERGE: &str = "application/merge-patch+json";
pub const JSON: &str = "application/json";

/// A connection pool to one API server.
pub struct Calls {
    pub client: kube::Client,
    pub breaker: Arc<Breaker>,
    in_flight: Semaphore,
    services: Semaphore,
}

/// What to ask.
pub struct Call<'a> {
    pub method: Method,
    /// With the query.
    pub path: String,
    pub content_type: &'a str,
    pub accept: &'a str,
    pub body: Vec<u8>,
    /// `apply`.
    pub verb: &'static str,
    /// `Deployment`; empty for what isn't about a kind.
    pub kind: String,
    /// `default/web`; empty for what isn't about one object.
    pub object: String,
    /// Whether it writes a Service.
    pub is_service: bool,
}

impl<'a> Call<'a> {
    pub fn new(method: Method, path: String, verb: &'static str, kind: &str) -> Self {
        let (kind, object, body) = (kind.to_owned(), String::new(), Vec::new());
        Self { method, path, content_type: JSON, accept: JSON, body, verb, kind, object, is_service: false }
    }

    /// About one object.
    pub fn on(method: Method, path: String, verb: &'static str, reference: &ResourceReference) -> Self {
        let ResourceReference { kind, namespace, name, .. } = reference;
        let object = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        Self { object, ..Self::new(method, path, verb, kind) }
    }

    #[must_use]
    pub fn body(mut self, content_type: &'a str, body: &Value) -> Self {
        self.content_type = content_type;
        self.body = body.to_string().into_bytes();
        self
    }

    /// `apply Deployment default/web`.
    fn name(&self) -> String {
        let parts = [self.verb, &self.kind, &self.object];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A 2xx.
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

/// Tells the breaker of a call that is dropped before it ends.
struct Outstanding<'a>(Option<&'a Breaker>);

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            breaker.end(Instant::now(), End::Abandoned);
        }
    }
}

impl Calls {
    pub fn new(client: kube::Client) -> Self {
        let breaker = Arc::new(Breaker::default());
        Self { client, breaker, in_flight: Semaphore::new(IN_FLIGHT), services: Semaphore::new(SERVICES_IN_FLIGHT) }
    }

    pub async fn call(&self, call: Call<'_>) -> Result<Answer> {
        let span = info_span!(
            "kubernetes",
            otel.name = call.name(),
            otel.kind = "client",
            path = call.path,
            code = tracing::field::Empty
        );
        let answer = self.admitted(call).instrument(span.clone()).await;
        span.record("code", code(&answer).as_str());
        answer
    }

    async fn admitted(&self, call: Call<'_>) -> Result<Answer> {
        let closed = |_| Error::Other("the process is shutting down".into());
        let _service = if call.is_service { Some(self.services.acquire().await.map_err(closed)?) } else { None };
        let _slot = self.in_flight.acquire().await.map_err(closed)?;
        let (limit, is_probe) = match self.breaker.start(Instant::now()) {
            Admission::Go => (TIMEOUT, false),
            Admission::Probe => (PROBE_TIMEOUT, true),
            Admission::Refused(why) => return Err(Error::Unreachable(why)),
        };
        let mut outstanding = Outstanding(Some(&self.breaker));
        let answer = tokio::select! {
            answer = self.send(call) => answer,
            // What it notes when it is dropped is all there is to say of a call that took too long.
            () = tokio::time::sleep(limit) => {
                let message = format!("no answer within {} s", limit.as_secs());
                return Err(if is_probe { Error::Unreachable(message) } else { Error::TimedOut(message) });
            }
            () = Box::pin(self.died()), if !is_probe => return Err(Error::Unreachable("the cluster stopped answering".into())),
        };
        outstanding.0 = None;
        let end = match &answer {
            Err(Error::Unreachable(why)) => End::Failed(why),
            _ => End::Answered,
        };
        self.breaker.end(Instant::now(), end);
        answer
    }

    /// Waits until the breaker opens; asks for the version when nothing has been answered for long.
    async fn died(&self) {
        loop {
            tokio::time::sleep(SILENCE_CHECK).await;
            match self.breaker.silence(Instant::now()) {
                Silence::Short => {}
                Silence::Long => {
                    let version = Call::new(Method::GET, "/version".into(), "version", "");
                    let answer = tokio::time::timeout(PROBE_TIMEOUT, self.send(version)).await;
                    let is_answered = answer.is_ok_and(|answer| !matches!(answer, Err(Error::Unreachable(_))));
                    self.breaker.asked(Instant::now(), is_answered);
                }
                Silence::Dead => return,
            }
        }
    }

    async fn send(&self, call: Call<'_>) -> Result<Answer> {
        let meter = Meter::start(call.verb, &call.kind);
        let answer = Box::pin(self.exchange(call)).await;
        meter.end(code(&answer));
        answer
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer> {
        let request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(CONTENT_TYPE, call.content_type)
            .header(ACCEPT, call.accept)
            .body(Body::from(call.body))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let is_change = request.method() != Method::GET;
        let response = self.client.send(request).await.map_err(|error| unreachable(&error))?;
        if is_change {
            let lost = failpoint::pass("kubernetes.changed").await;
            lost.map_err(|failed| Error::Unreachable(failed.to_string()))?;
        }
        let code = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect_bytes().await.map_err(|error| unreachable(&error))?;
        if !(200..300).contains(&code) {
            return Err(Error::from_answer(code, retry_after.map(Duration::from_secs), &body));
        }
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).map_err(|error| Error::Other(error.to_string()))?
        };
        Ok(Answer { code, body })
    }
}

/// The innermost cause says most: `connection refused`.
pub fn unreachable(error: &kube::Error) -> Error {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Error::Unreachable(cause.to_string())
}

/// A query string with its `?`; empty without parameters.
pub fn query(parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let joined = given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

/// RFC 3986: all but unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            encoded + char::from(byte).encode_utf8(&mut [0; 4])
        }
        _ => format!("{encoded}%{byte:02X}"),
    })
}
