//! The log's newest commits in memory, bounded by number and size.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::commit::Commit;

const MAX_COMMITS: usize = 8192;
const MAX_BYTES: usize = 64 << 20;

/// Commits by position, without gaps.
pub struct Ring {
    inner: Mutex<Inner>,
    /// The newest position, for who waits.
    newest: watch::Sender<i64>,
}

#[derive(Default)]
struct Inner {
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    /// The position before the first of `commits`, or the last one if there are none; unknown before the first read.
    before: Option<i64>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { inner: Mutex::default(), newest: watch::Sender::new(-1) }
    }
}

impl Ring {
    /// Forgets all; the next commit pushed follows `position`.
    pub fn restart(&self, position: i64) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) =
            Inner { before: Some(position), ..Inner::default() };
        self.newest.send_replace(position);
    }

    /// Appends the next commits and drops the oldest over the bounds.
    pub fn push(&self, commits: Vec<Arc<Commit>>) {
        let Some(newest) = commits.last().map(|commit| commit.position) else { return };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for commit in commits {
            inner.bytes += commit.size;
            inner.commits.push_back(commit);
        }
        while inner.commits.len() > MAX_COMMITS || inner.bytes > MAX_BYTES {
            let Some(oldest) = inner.commits.pop_front() else { break };
            inner.bytes -= oldest.size;
            inner.before = Some(oldest.position);
        }
        drop(inner);
        self.newest.send_replace(newest);
    }

    /// Up to `limit` commits after a position; none if the ring no longer, or not yet, reaches so far.
    pub fn after(&self, position: i64, limit: usize) -> Option<Vec<Arc<Commit>>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(position - inner.before?).ok()?;
        (skip <= inner.commits.len()).then(|| inner.commits.iter().skip(skip).take(limit).cloned().collect())
    }

    /// Waits until there is a commit after the position.
    pub async fn beyond(&self, position: i64) {
        // The ring owns the sender: it outlives the wait.
        let _ = self.newest.subscribe().wait_for(|newest| *newest > position).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commits(positions: std::ops::RangeInclusive<i64>) -> Vec<Arc<Commit>> {
        positions.map(|position| Arc::new(Commit::empty(position))).collect()
    }

    fn positions(ring: &Ring, after: i64) -> Option<Vec<i64>> {
        ring.after(after, 3).map(|commits| commits.iter().map(|commit| commit.position).collect())
    }

    #[test]
    fn a_ring_answers_for_what_it_holds_and_for_its_end() {
        let ring = Ring::default();
        assert_eq!(positions(&ring, 0), None);
        ring.restart(10);
        assert_eq!(positions(&ring, 10), Some(vec![]));
        ring.push(commits(11..=15));
        assert_eq!(positions(&ring, 10), Some(vec![11, 12, 13]));
        assert_eq!(positions(&ring, 14), Some(vec![15]));
        assert_eq!(positions(&ring, 15), Some(vec![]));
        assert_eq!((positions(&ring, 9), positions(&ring, 16)), (None, None));
    }

    #[test]
    fn the_oldest_make_room() {
        let ring = Ring::default();
        ring.restart(0);
        let count = i64::try_from(MAX_COMMITS).unwrap() + 2;
        ring.push(commits(1..=count));
        assert_eq!(positions(&ring, 1), None);
        assert_eq!(positions(&ring, 2), Some(vec![3, 4, 5]));
    }
}
