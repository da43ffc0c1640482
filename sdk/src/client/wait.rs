//! Waiting for objects, without polling.

use std::time::{Duration, Instant};

use futures::stream::unfold;
use futures::{Stream, StreamExt};
use threeport::object::Object;
use threeport::v1;
use tonic::{Status, Streaming};

use super::call::is_temporary;
use super::{Change, Client, Filter};
use crate::Error;
use crate::backoff::Backoff;

impl Client {
    /// Waits until the object exists and `predicate` holds for it, and returns it.
    ///
    /// # Errors
    /// [`Error::Timeout`] when that takes longer than `timeout`.
    pub async fn wait_for<T: Object>(
        &self,
        project: &str,
        name: &str,
        timeout: Duration,
        predicate: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        let filter = Filter { project: project.into(), filter: format!("name = \"{name}\""), order_by: String::new() };
        let holds = |object: &T| object.meta().name == name && predicate(object);
        let found = async {
            let mut changes = std::pin::pin!(self.watch::<T>(&filter));
            while let Some(change) = changes.next().await {
                let found = match change? {
                    Change::Listed(objects) => objects.into_iter().find(holds),
                    Change::Written(object) => Some(object).filter(holds),
                    Change::Removed(_) => None,
                };
                if let Some(object) = found {
                    return Ok(object);
                }
            }
            Err(Error::Timeout(timeout))
        };
        tokio::time::timeout(timeout, found).await.unwrap_or(Err(Error::Timeout(timeout)))
    }

    /// Waits until the objects and all they own are settled and Ready (or gone), and tells where that stands.
    /// Ends with the message that has `done` set, or with an error.
    pub fn wait(
        &self,
        objects: Vec<v1::ObjectReference>,
        deleted: bool,
        timeout: Duration,
    ) -> impl Stream<Item = Result<v1::WaitResponse, Error>> + Send + use<> {
        let waiter = Waiter {
            client: self.clone(),
            request: v1::WaitRequest { objects, deleted, timeout: None },
            timeout,
            deadline: Instant::now() + timeout,
            open: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
        };
        unfold(Some(waiter), async |waiter| {
            let mut waiter = waiter?;
            match waiter.next().await {
                Ok(response) if response.done => Some((Ok(response), None)),
                Ok(response) => Some((Ok(response), Some(waiter))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Waiter {
    client: Client,
    request: v1::WaitRequest,
    timeout: Duration,
    deadline: Instant,
    open: Option<Streaming<v1::WaitResponse>>,
    backoff: Backoff,
}

impl Waiter {
    async fn next(&mut self) -> Result<v1::WaitResponse, Error> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // The server's own limit comes first, so that its last word can arrive.
            let answer = tokio::time::timeout(left + Duration::from_secs(2), self.receive(left)).await;
            match answer {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(status)) if is_temporary(&status) && !left.is_zero() => {
                    self.open = None;
                    tokio::time::sleep(self.backoff.wait()).await;
                }
                Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => {
                    return Err(Error::Timeout(self.timeout));
                }
                Ok(Err(status)) => return Err(self.client.failure(status, self.timeout)),
                Err(_) => return Err(Error::Timeout(self.timeout)),
            }
        }
    }

    async fn receive(&mut self, left: Duration) -> Result<v1::WaitResponse, Status> {
        let stream = if let Some(stream) = &mut self.open {
            stream
        } else {
            self.request.timeout = prost_types::Duration::try_from(left).ok();
            let request = self.client.prepare(self.request.clone());
            let mut objects = self.client.objects();
            self.open.insert(objects.wait(request).await?.into_inner())
        };
        stream.message().await?.ok_or_else(|| Status::unavailable("the wait ended early"))
    }
}
