//! The lease as the holder sees it: a deadline that is earlier than the database's.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Error;

/// The server's leases last 4 s from the arrival of a renewal; ours from its sending, and a second less.
pub const LEASE: Duration = Duration::from_secs(3);

/// Says whether what a replica holds is still its own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseGuard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    replica: Uuid,
    deadline: Mutex<Deadline>,
    lost: CancellationToken,
}

/// Both clocks must agree: the monotonic one stands still while a machine sleeps, the other one can be set back.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    fn after(sent: Sent) -> Self {
        Self { monotonic: sent.monotonic + LEASE, wall: sent.wall + LEASE }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.monotonic || SystemTime::now() >= self.wall
    }
}

/// When a renewal was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    monotonic: Instant,
    wall: SystemTime,
}

impl Sent {
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

impl LeaseGuard {
    /// A lease under a new replica id, from its first renewal on.
    pub fn new(replica: Uuid, sent: Sent) -> Self {
        let deadline = Mutex::new(Deadline::after(sent));
        Self { shared: Arc::new(Shared { replica, deadline, lost: CancellationToken::new() }) }
    }

    /// The replica that holds.
    pub fn replica(&self) -> Uuid {
        self.shared.replica
    }

    /// Fails when the lease may be another's by now. To be asked before each call that changes the world.
    ///
    /// # Errors
    /// [`Error::Retry`]; whatever it says is not stored, since another replica is at it.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_held() { Ok(()) } else { Err(lost()) }
    }

    /// Runs the future for as long as the lease is held, which is asked before each of its steps: a process that was
    /// stopped in the middle doesn't go on where it was.
    ///
    /// # Errors
    /// As [`LeaseGuard::check`]; the future is dropped then.
    pub async fn guard<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        let mut future = pin!(future);
        let steps =
            poll_fn(|cx| if self.is_held() { future.as_mut().poll(cx).map(Ok) } else { Poll::Ready(Err(lost())) });
        tokio::select! {
            biased;
            () = self.shared.lost.cancelled() => Err(lost()),
            output = steps => output,
        }
    }

    pub fn is_held(&self) -> bool {
        !self.shared.lost.is_cancelled() && !self.deadline().is_over()
    }

    /// Waits until the lease is lost.
    pub async fn lost(&self) {
        self.shared.lost.cancelled().await;
    }

    /// Notes a successful renewal; one that was overtaken by the deadline doesn't bring the lease back.
    pub fn renewed(&self, sent: Sent) {
        let mut deadline = self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if !deadline.is_over() {
            *deadline = Deadline::after(sent);
        }
    }

    /// Gives the lease up: all work under it is cancelled.
    pub fn lose(&self) {
        self.shared.lost.cancel();
    }

    /// How long it lasts without another renewal.
    pub fn remaining(&self) -> Duration {
        self.deadline().monotonic.saturating_duration_since(Instant::now())
    }

    fn deadline(&self) -> Deadline {
        *self.shared.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> Error {
    Error::Retry(anyhow::anyhow!("the lease was lost; another replica goes on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_before(age: Duration) -> Sent {
        let now = Sent::now();
        Sent { monotonic: now.monotonic.checked_sub(age).unwrap(), wall: now.wall - age }
    }

    #[test]
    fn the_deadline_counts_from_the_sending() {
        let lease = LeaseGuard::new(Uuid::nil(), sent_before(Duration::from_millis(2900)));
        assert!(lease.check().is_ok());
        assert!(lease.remaining() <= Duration::from_millis(100));
        lease.renewed(Sent::now());
        assert!(lease.remaining() > Duration::from_secs(2));
    }

    #[test]
    fn a_late_renewal_does_not_bring_a_lease_back() {
        let lease = LeaseGuard::new(Uuid::nil(), sent_before(Duration::from_secs(4)));
        lease.renewed(Sent::now());
        assert!(lease.check().is_err());
    }

    #[test]
    fn a_sleep_that_the_monotonic_clock_missed_counts() {
        let mut sent = Sent::now();
        sent.wall -= Duration::from_mins(1);
        assert!(LeaseGuard::new(Uuid::nil(), sent).check().is_err());
    }

    #[tokio::test]
    async fn work_does_not_go_on_after_the_deadline() {
        let lease = LeaseGuard::new(Uuid::nil(), sent_before(LEASE.saturating_sub(Duration::from_millis(50))));
        let mut has_gone_on = false;
        let work = lease.guard(async {
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::yield_now().await;
            has_gone_on = true;
        });
        assert!(work.await.is_err() && !has_gone_on);
    }

    #[tokio::test]
    async fn work_ends_with_the_lease() {
        let lease = LeaseGuard::new(Uuid::nil(), Sent::now());
        let work = lease.guard(std::future::pending::<()>());
        let (result, ()) = tokio::join!(work, async { lease.lose() });
        assert!(result.is_err() && lease.check().is_err());
    }
}
