//! Runs reconcilers: takes work from the local queue, begins it in batches, and drains when told to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use threeport::v1;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;

use super::Reconciler;
use super::dispatch;
use super::finisher::Finisher;
use super::hints::{self, Attached};
use super::queue::{Key, Pushed, Queue};
use super::replica::Replica;
use super::worker::{Typed, Worker};
use crate::backoff::Backoff;
use crate::client::ControlClient;
use crate::context::Contexts;
use crate::{Client, Connection, Error};

/// How much a runner does at a time.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Reconciles at a time.
    pub concurrency: usize,
    /// Reconciles at a time behind one gate, such as a cluster.
    pub per_gate: usize,
    /// Objects that may wait in this process.
    pub queue: usize,
    /// When a step is cancelled and tried again.
    pub step_limit: Duration,
    /// How long running steps may take to end on shutdown.
    pub drain: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            concurrency: 32,
            per_gate: 8,
            queue: 256,
            step_limit: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Runs reconcilers as one replica.
pub struct Runner {
    control: ControlClient,
    nats_url: Option<String>,
    config: RunnerConfig,
    workers: Vec<Arc<dyn Worker>>,
    health: Health,
}

/// How a runner is doing, for `/readyz`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    is_leased: Arc<AtomicBool>,
    attached: Attached,
    controllers: usize,
}

impl Health {
    /// Whether the server knows the replica, so that it can work.
    pub fn is_leased(&self) -> bool {
        self.is_leased.load(Ordering::Relaxed)
    }

    /// Whether the broker's hints arrive; without them work is found within a second.
    pub fn has_hints(&self) -> bool {
        self.attached.all(self.controllers)
    }
}

impl Runner {
    /// Prepares a runner; without a broker's URL it asks the server for due work every second.
    pub fn new(client: Client, nats_url: Option<String>, config: RunnerConfig) -> Self {
        Self { control: client.into(), nats_url, config, workers: Vec::new(), health: Health::default() }
    }

    /// Prepares a runner from the environment: `THREEPORT_CONTROLLER_TOKEN`, the broker's `THREEPORT_NATS_URL` where there
    /// is one, and `THREEPORT_SERVER` or the server of the current context.
    ///
    /// # Errors
    /// When there is no token or no server, or [`Client::connect`] refuses them.
    pub fn from_env() -> Result<Self, Error> {
        let token = std::env::var("THREEPORT_CONTROLLER_TOKEN").map_err(|_| {
            Error::Configuration("THREEPORT_CONTROLLER_TOKEN is not set; controllers need a token of their own".into())
        })?;
        let server = Contexts::load(&Contexts::path()?)?.resolve(None)?.server;
        let client = Client::connect(&Connection { server, token })?;
        let nats_url = std::env::var("THREEPORT_NATS_URL").ok().filter(|url| !url.is_empty());
        Ok(Self::new(client, nats_url, RunnerConfig::default()))
    }

    /// Adds a controller.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "no arithmetic is meant")]
    pub fn add(mut self, reconciler: impl Reconciler) -> Self {
        self.workers.push(Arc::new(Typed::new(reconciler)));
        self.health.controllers = self.workers.len();
        self
    }

    /// How it is doing; to be asked for after the last controller was added.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Works until SIGTERM or SIGINT arrives.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub async fn run_until_signal(self) -> Result<(), Error> {
        let unavailable = |error| Error::Configuration(format!("signals can't be received: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let stopper = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            result = self.run(shutdown) => result,
            never = stopper => never,
        }
    }

    /// Works until told to stop, then ends what runs and leaves.
    ///
    /// # Errors
    /// When the server refuses the replica, because of its token for one. An absent server is waited for.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            finisher: Finisher::start(self.control.clone(), &tasks),
            references: self.workers.iter().map(|worker| worker.reference()).collect(),
            workers: self.workers,
            queue: Mutex::new(Queue::new(self.config.queue, self.config.per_gate)),
            changed: Notify::new(),
            attached: self.health.attached.clone(),
            control: self.control,
            config: self.config,
            tasks,
        });
        let mut replicas = JoinSet::new();
        let Some(first) = join(&shared, &mut replicas, &shutdown).await? else { return Ok(()) };
        let mut sources = JoinSet::new();
        sources.spawn(hints::sweep(shared.clone()));
        if let Some(url) = self.nats_url {
            sources.spawn(hints::follow_all(shared.clone(), url));
        }
        let last = work(&shared, first, &mut replicas, &self.health, &shutdown).await;
        self.health.is_leased.store(false, Ordering::Relaxed);
        sources.shutdown().await;
        let drain = shared.config.drain;
        let tasks = shared.tasks.clone();
        drop(shared);
        drain_work(last?, &tasks, replicas, drain).await;
        Ok(())
    }
}

/// What the parts of a runner share.
pub struct Shared {
    pub control: ControlClient,
    pub config: RunnerConfig,
    pub workers: Vec<Arc<dyn Worker>>,
    pub references: Vec<v1::ControllerReference>,
    pub finisher: Finisher,
    pub attached: Attached,
    /// Something came into the queue, or ended.
    pub changed: Notify,
    pub tasks: TaskTracker,
    queue: Mutex<Queue>,
}

impl Shared {
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, key: Key) -> Pushed {
        let pushed = self.queue().push(key);
        self.changed.notify_one();
        pushed
    }

    /// Ends a running object's turn.
    pub fn ended(&self, key: &Key) {
        self.queue().ended(key);
        self.changed.notify_one();
    }
}

/// Begins work until shutdown, under one replica after the other; returns the last.
async fn work(
    shared: &Arc<Shared>,
    first: Arc<Replica>,
    replicas: &mut JoinSet<()>,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<Option<Arc<Replica>>, Error> {
    let mut replica = first;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        health.is_leased.store(true, Ordering::Relaxed);
        let joined = Instant::now();
        if !dispatch::begin_while_held(shared, &replica, shutdown).await {
            return Ok(Some(replica));
        }
        health.is_leased.store(false, Ordering::Relaxed);
        if joined.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        tokio::time::sleep(backoff.wait()).await;
        match join(shared, replicas, shutdown).await? {
            Some(next) => replica = next,
            None => return Ok(None),
        }
    }
}

/// Registers a replica, however long the server is away; none on shutdown.
async fn join(
    shared: &Shared,
    replicas: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Result<Option<Arc<Replica>>, Error> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    loop {
        let joined = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            joined = Replica::join(&shared.control, &shared.references) => joined,
        };
        match joined {
            Ok(replica) => {
                replicas.spawn(replica.clone().keep());
                return Ok(Some(replica));
            }
            Err(error) if is_final(error.code()) => return Err(error),
            Err(error) => tracing::warn!(%error, "can't join; trying again"),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn is_final(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented)
}

/// Lets what runs end, then leaves; what does not end in time is cancelled.
async fn drain_work(last: Option<Arc<Replica>>, tasks: &TaskTracker, mut replicas: JoinSet<()>, limit: Duration) {
    tasks.close();
    if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!("work did not end within {limit:?} and is cancelled");
    }
    if let Some(replica) = last {
        replica.lease().lose();
        let _ = tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await;
        replica.leave().await;
    }
    replicas.shutdown().await;
}

#[cfg(test)]
mod tests;
