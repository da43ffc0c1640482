//! Watch: every commit once, whole and in order, from any position within the retention.
//!
//! One reader per process tails the log into a bounded ring; watchers follow the ring by position, and one that is behind
//! it reads pages of the database until it has caught up.

mod commit;
mod filter;
mod ring;
mod tail;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::Stream;
use futures::stream::try_unfold;
use threeport::v1::{WatchEvent, WatchRequest, WatchResponse};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::commit::{Commit, Recorded};
use self::filter::Filter;
use self::ring::Ring;
use super::Store;
use crate::error::{Error, Result};

/// Watches at the same time in one process.
const MAX_WATCHERS: usize = 2000;
/// A watcher that has heard nothing for this long is told the position that it has reached.
const BOOKMARK: Duration = Duration::from_secs(5);
/// Commits looked at before others get their turn.
const PAGE: usize = 256;
/// Watchers that may ask the database at the same time; the others wait, so that requests find connections.
const ASKING: usize = 4;

/// What this process knows of the log's end.
pub struct Live {
    ring: Ring,
    watchers: AtomicUsize,
    asking: Semaphore,
    closing: CancellationToken,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            ring: Ring::default(),
            watchers: AtomicUsize::default(),
            asking: Semaphore::new(ASKING),
            closing: CancellationToken::new(),
        }
    }
}

impl Live {
    /// Waits for a turn to ask the database.
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.asking.acquire().await.expect("the semaphore is never closed")
    }

    /// Ends all watches.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Counts one watcher for as long as it lives.
struct Place(Arc<Live>);

impl Place {
    fn take(live: &Arc<Live>) -> Result<Self> {
        // Counted first: a refused one gives its place back by being dropped.
        let taken = live.watchers.fetch_add(1, Ordering::Relaxed);
        let place = Place(live.clone());
        metrics::gauge!("threeport_watches").increment(1.0);
        if taken >= MAX_WATCHERS {
            return Err(Error::TooMuch(format!("{taken} watches are open; close some or watch more kinds with one")));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("threeport_watches").decrement(1.0);
    }
}

/// One watch: where it stands and what it wants to see.
struct Watcher {
    store: Store,
    place: Place,
    /// Empty for all.
    kinds: Vec<String>,
    /// None for all.
    project: Option<String>,
    filter: Filter,
    /// The last position looked at.
    position: i64,
    /// The position is to be told by then.
    bookmark_at: Instant,
    ready: VecDeque<WatchResponse>,
}

impl Store {
    /// Follows the log. Ends when the process does; fails when the watcher falls behind the retention.
    pub async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<impl Stream<Item = Result<WatchResponse>> + Send + use<>> {
        let filter = Filter::parse(&request.filter)?;
        let mut kinds = Vec::with_capacity(request.kinds.len());
        for name in &request.kinds {
            kinds.push(self.kind(name).await?.name.clone());
        }
        let place = Place::take(&self.live)?;
        let span = {
            let _turn = self.live.turn().await;
            self.log_span().await?
        };
        let position = if request.from_position == 0 { span.last } else { request.from_position };
        span.check(position)?;
        // A watch from now on is told at once where that is: else one that breaks early could not resume.
        let bookmark_at = Instant::now() + if request.from_position == 0 { Duration::ZERO } else { BOOKMARK };
        let watcher = Watcher {
            store: self.clone(),
            place,
            kinds,
            project: Some(request.project).filter(|project| !project.is_empty() && project != "-"),
            filter,
            position,
            bookmark_at,
            ready: VecDeque::new(),
        };
        Ok(try_unfold(watcher, |mut watcher| async { Ok(watcher.next().await?.map(|response| (response, watcher))) }))
    }
}

impl Watcher {
    /// The next response; none when the process ends.
    async fn next(&mut self) -> Result<Option<WatchResponse>> {
        let closing = self.place.0.closing.clone();
        loop {
            if let Some(response) = self.ready.pop_front() {
                self.bookmark_at = Instant::now() + BOOKMARK;
                return Ok(Some(response));
            }
            let commits = self.place.0.ring.after(self.position, PAGE);
            let commits = if let Some(commits) = commits {
                commits
            } else {
                let _turn = self.place.0.turn().await;
                self.store.read_log(self.position, PAGE).await?
            };
            for commit in commits {
                self.position = commit.position;
                if let Some(response) = self.see(&commit).await? {
                    self.ready.push_back(response);
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            if Instant::now() >= self.bookmark_at {
                self.ready.push_back(WatchResponse { position: self.position, ..Default::default() });
                continue;
            }
            tokio::select! {
                () = closing.cancelled() => return Ok(None),
                () = self.place.0.ring.beyond(self.position) => {}
                () = sleep_until(self.bookmark_at) => {}
            }
        }
    }

    /// What the watcher sees of a commit; none when nothing of it passes.
    async fn see(&self, commit: &Commit) -> Result<Option<WatchResponse>> {
        let mut events = Vec::new();
        for change in &commit.changes {
            let is_wanted = (self.kinds.is_empty() || self.kinds.contains(&change.object.kind))
                && self.project.as_ref().is_none_or(|project| *project == change.project);
            if is_wanted {
                events.extend(self.event(change).await?);
            }
        }
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(WatchResponse {
            position: commit.position,
            events,
            actor: commit.actor.clone(),
            at: Some(commit.at.into()),
            trace_id: commit.trace_id.clone(),
        }))
    }

    /// A change as the filter shows it: what enters is sent whole as it is now, what leaves as left.
    async fn event(&self, change: &Recorded) -> Result<Option<WatchEvent>> {
        let event = |event_type: &str| WatchEvent { r#type: event_type.into(), object: Some(change.object.clone()) };
        let passes = self.filter.passes(&change.after);
        let passed = match &change.before {
            Some(before) => self.filter.passes(before),
            // It did not exist: creation is no entering.
            None => passes,
        };
        Ok(match (passed, passes) {
            (false, false) => None,
            (true, true) => Some(event(&change.change_type)),
            (true, false) => Some(event("left")),
            // An object that is gone by now has entered for nobody.
            (false, true) => {
                let _turn = self.place.0.turn().await;
                let object = self.store.present_object(change.id).await?;
                object.map(|object| WatchEvent { r#type: "entered".into(), object: Some(object) })
            }
        })
    }
}
