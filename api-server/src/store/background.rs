//! What every process does beside answering requests, and what only the sequencer's holder does.
//!
//! Every process stands for election, tails the log and passes nudges on; the holder gives positions, hints due work,
//! sweeps expired replicas, expands fan-outs and enforces retention. Nudges save time only: each task also polls.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::nudges::{self, Channel};
use super::retention::Retention;
use super::sequencer::{RENEWAL, Term, is_full};
use super::statistics::Statistics;
use super::{Store, due};
use crate::error::{Chain, Result};
use crate::hints;

/// How long a commit waits for its position when every nudge is lost.
const POLL: Duration = Duration::from_millis(150);
/// Under a steady load positions are given this often, to more commits at a time: what comes after a pause gets its own at once.
const PACE: Duration = Duration::from_millis(5);
/// How often replicas are looked at, and elections held.
const SWEEP: Duration = Duration::from_millis(500);
/// A pause after a failure, so that a database that is away isn't hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What the background tasks need beyond the store.
#[derive(Clone)]
pub struct Background {
    /// For a connection of its own that listens for nudges.
    pub database: tokio_postgres::Config,
    /// Where hints about due work go; none in a process that runs without a broker.
    pub hints: Option<hints::Sender>,
    pub retention: Retention,
}

/// Rung by one task, waited for by another.
#[derive(Default)]
pub struct Bells {
    /// Commits of other processes wait for a position.
    pub remote: Notify,
    /// Positions were appended, here or elsewhere.
    pub positioned: Notify,
    /// Work may be due.
    pub due: Notify,
}

impl Store {
    /// Runs until `shutdown`; watches end with it.
    pub async fn run_background(&self, background: Background, shutdown: CancellationToken) {
        let background = Arc::new(background);
        let mut tasks = JoinSet::new();
        let (store, config) = (self.clone(), background.clone());
        tasks.spawn(async move { nudges::listen(&store, &config.database).await });
        let store = self.clone();
        tasks.spawn(async move { store.tail_log().await });
        let (store, config, stop) = (self.clone(), background, shutdown.clone());
        let mut elections = JoinSet::new();
        elections.spawn(async move { store.hold_elections(config, stop).await });
        shutdown.cancelled().await;
        self.live.close();
        tasks.shutdown().await;
        // Ends by itself, after giving its lease back.
        elections.join_all().await;
    }

    /// Stands for election again and again; between terms, passes nudges on to the holder.
    async fn hold_elections(&self, background: Arc<Background>, shutdown: CancellationToken) {
        let holder = Uuid::new_v4();
        while !shutdown.is_cancelled() {
            match self.stand_for_election(holder).await {
                Ok(Some(term)) => {
                    tracing::info!(epoch = term.epoch, "elected to give positions to the log");
                    self.serve_term(term, &background, &shutdown).await;
                }
                Ok(None) => {
                    let _ =
                        timeout(SWEEP, future::select(Box::pin(self.pass_on_nudges()), Box::pin(shutdown.cancelled())))
                            .await;
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "election failed; retrying");
                    let _ = timeout(AFTER_FAILURE, shutdown.cancelled()).await;
                }
            }
        }
    }

    /// Tells the holder, in whichever process it is, of commits made here.
    async fn pass_on_nudges(&self) {
        loop {
            self.committed.notified().await;
            self.nudge(Channel::Committed).await;
        }
    }

    /// Does all that the holder does, until the term or the process ends.
    async fn serve_term(&self, term: Term, background: &Arc<Background>, shutdown: &CancellationToken) {
        let mut tasks = JoinSet::new();
        let (store, hints) = (self.clone(), background.hints.clone());
        if let Some(hints) = hints {
            tasks.spawn(async move { due::announce(&store, hints).await });
        }
        let store = self.clone();
        tasks.spawn(async move { repeat("sweeping replicas", SWEEP, || store.sweep_replicas()).await });
        let store = self.clone();
        tasks.spawn(async move {
            repeat("expanding fan-outs", POLL, || async {
                while store.expand_fan_out().await? {}
                Ok(())
            })
            .await;
        });
        let (store, statistics) = (self.clone(), Statistics::default());
        tasks.spawn(async move {
            repeat("taking statistics", SWEEP, || store.refresh_statistics(&statistics)).await;
        });
        // Who changed a kind's controllers may have died before the work rows followed.
        let store = self.clone();
        tasks.spawn(async move { repeat("adding work", Duration::from_mins(1), || store.back_fill_work()).await });
        let (store, config) = (self.clone(), background.clone());
        tasks.spawn(async move {
            repeat("enforcing retention", Duration::from_mins(1), || store.enforce(&config.retention)).await;
        });
        tokio::select! {
            () = self.give_positions(term) => tracing::warn!(epoch = term.epoch, "another process gives positions now"),
            () = shutdown.cancelled() => {
                if let Err(error) = self.resign(term).await {
                    tracing::debug!(error = %Chain(&error), "could not resign; the lease runs out");
                }
            }
        }
        tasks.shutdown().await;
    }

    /// Gives positions until the term is over. Idle, it only reads, but for a renewal each second.
    async fn give_positions(&self, term: Term) {
        let mut renew_at = Instant::now();
        loop {
            let began = Instant::now();
            match self.position_next(term, &mut renew_at).await {
                Ok(Progress::Over) => return,
                Ok(Progress::More) => continue,
                Ok(Progress::Positioned) => tokio::time::sleep_until(began + PACE).await,
                Ok(Progress::Idle) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "giving positions failed; retrying");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
            tokio::select! {
                // What commits without a change may still make work due.
                () = self.committed.notified() => self.bells.due.notify_one(),
                () = self.bells.remote.notified() => self.bells.due.notify_one(),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn position_next(&self, term: Term, renew_at: &mut Instant) -> Result<Progress> {
        if Instant::now() < *renew_at && !self.has_unpositioned().await? {
            return Ok(Progress::Idle);
        }
        let Some(appended) = self.position_batch(term).await? else { return Ok(Progress::Over) };
        *renew_at = Instant::now() + RENEWAL;
        if appended > 0 {
            self.bells.due.notify_one();
            self.bells.positioned.notify_one();
            self.nudge(Channel::Positioned).await;
        }
        Ok(match appended {
            0 => Progress::Idle,
            full if is_full(full) => Progress::More,
            _ => Progress::Positioned,
        })
    }
}

/// What one look at the unpositioned commits came to.
enum Progress {
    More,
    /// All that there was.
    Positioned,
    Idle,
    /// Another term has begun.
    Over,
}

/// Runs `task` again and again, `pause` apart.
async fn repeat<F: Future<Output = Result<()>>>(what: &str, pause: Duration, mut task: impl FnMut() -> F) {
    loop {
        if let Err(error) = task().await {
            tracing::warn!(error = %Chain(&error), "{what} failed; retrying");
        }
        tokio::time::sleep(pause).await;
    }
}
