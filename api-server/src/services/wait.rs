//! Waiting for objects: looks again whenever the log moves, and once in a while in any case.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use threeport::v1::{ObjectReference, WaitRequest, WaitResponse, WatchRequest, WatchResponse};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;

use crate::error::{Error, Result};
use crate::store::Store;

const DEFAULT: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_hours(1);
/// Between two looks at least, however busy the log.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at most: a wait may end without a change in the log.
const INTERVAL: Duration = Duration::from_secs(1);

type Log = BoxStream<'static, Result<WatchResponse>>;

struct Wait {
    store: Store,
    objects: Vec<ObjectReference>,
    is_for_deletion: bool,
    deadline: Instant,
    log: Log,
    told: Option<WaitResponse>,
    is_over: bool,
}

/// How the wait stands, each time that this changes; ends with `done`, or with `DEADLINE_EXCEEDED`.
pub async fn stream(
    store: Store,
    request: WaitRequest,
) -> Result<BoxStream<'static, Result<WaitResponse, Status>>, Status> {
    let WaitRequest { objects, deleted, timeout } = request;
    if objects.is_empty() {
        return Err(Error::invalid("objects", "must name at least one object").into());
    }
    let time = match timeout.map(Duration::try_from) {
        None => DEFAULT,
        Some(Ok(time)) if !time.is_zero() && time <= LONGEST => time,
        Some(_) => return Err(Error::invalid("timeout", "must be more than 0 and at most 1 hour").into()),
    };
    let deadline = Instant::now() + time;
    // From before the first look, so that no change between the two is missed.
    let log = store.watch(WatchRequest::default()).await?.boxed();
    let mut wait = Wait { store, objects, is_for_deletion: deleted, deadline, log, told: None, is_over: false };
    let first = wait.look().await?;
    wait.note(&first);
    let rest = stream::unfold(wait, |mut wait| async move {
        let item = wait.next().await?;
        Some((item, wait))
    });
    Ok(stream::once(async { Ok(first) }).chain(rest).boxed())
}

impl Wait {
    async fn look(&mut self) -> Result<WaitResponse> {
        self.store.wait_state(&self.objects, self.is_for_deletion).await
    }

    fn note(&mut self, state: &WaitResponse) {
        self.is_over = state.done;
        self.told = Some(state.clone());
    }

    /// The next state that differs from the one told before.
    async fn next(&mut self) -> Option<Result<WaitResponse, Status>> {
        if self.is_over {
            return None;
        }
        loop {
            if Instant::now() >= self.deadline {
                self.is_over = true;
                let status = Status::deadline_exceeded("not ready in time; `tptctl explain` names the first cause");
                return Some(Err(status));
            }
            self.pause().await;
            match self.look().await {
                Ok(state) if self.told.as_ref() == Some(&state) => {}
                Ok(state) => {
                    self.note(&state);
                    return Some(Ok(state));
                }
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error.into()));
                }
            }
        }
    }

    /// Until the log moves or the interval ends.
    async fn pause(&mut self) {
        let now = Instant::now();
        sleep_until((now + PAUSE).min(self.deadline)).await;
        let until = (now + INTERVAL).min(self.deadline);
        loop {
            match timeout_at(until, self.log.next()).await {
                Ok(Some(Ok(commit))) if commit.events.is_empty() => {}
                // A log that lags or ends costs only its speed.
                Ok(None | Some(Err(_))) => {
                    sleep_until(until).await;
                    return;
                }
                Ok(Some(Ok(_))) | Err(_) => return,
            }
        }
    }
}
