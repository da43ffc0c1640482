//! A replica's time under one id: registered, renewed every second, left or lost.
//!
//! When a Begin fails without an answer, nobody knows what it took. Such a replica is *retired*: what runs under it runs
//! to its end and is renewed until then, new work begins under another id, and leaving frees whatever Begin took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use threeport::v1;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::LeaseGuard;
use super::lease::Sent;
use crate::Error;
use crate::client::ControlClient;

const RENEWAL: Duration = Duration::from_secs(1);

pub struct Replica {
    lease: LeaseGuard,
    control: ControlClient,
    controllers: Vec<v1::ControllerReference>,
    control_plane_id: Arc<str>,
    work: TaskTracker,
    is_retired: AtomicBool,
}

impl Replica {
    /// Registers a replica under a new id.
    pub async fn join(control: &ControlClient, controllers: &[v1::ControllerReference]) -> Result<Arc<Self>, Error> {
        let id = Uuid::new_v4();
        let sent = Sent::now();
        let response = control.renew(request(id, controllers, false), super::lease::LEASE).await?;
        tracing::info!(replica = %id, "joined");
        Ok(Arc::new(Self {
            lease: LeaseGuard::new(id, sent),
            control: control.clone(),
            controllers: controllers.to_vec(),
            control_plane_id: response.control_plane_id.into(),
            work: TaskTracker::new(),
            is_retired: AtomicBool::new(false),
        }))
    }

    pub fn lease(&self) -> &LeaseGuard {
        &self.lease
    }

    pub fn control_plane_id(&self) -> Arc<str> {
        self.control_plane_id.clone()
    }

    /// Stands for work under this replica for as long as it is kept.
    pub fn work(&self) -> TaskTrackerToken {
        self.work.token()
    }

    /// Begins no more; leaves when what runs has ended.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        self.work.close();
    }

    /// Whether new work must begin under another id.
    pub fn is_over(&self) -> bool {
        self.is_retired.load(Ordering::Acquire) || !self.lease.is_held()
    }

    /// Renews until the lease is lost, or until the replica is retired and idle; then leaves.
    pub async fn keep(self: Arc<Self>) {
        let mut wait = RENEWAL;
        loop {
            tokio::select! {
                () = self.lease.lost() => break,
                () = self.work.wait() => return self.leave().await,
                () = tokio::time::sleep(wait.min(self.lease.remaining())) => {}
            }
            wait = if self.renew().await { RENEWAL } else { RENEWAL / 5 };
            if !self.lease.is_held() {
                self.lease.lose();
            }
        }
        metrics::counter!("threeport_lease_losses_total").increment(1);
        tracing::warn!(replica = %self.lease.replica(), "lost the lease; all work under it is cancelled");
    }

    /// Ends the lease at once; whatever it held is free.
    pub async fn leave(&self) {
        self.lease.lose();
        let request = request(self.lease.replica(), &self.controllers, true);
        if let Err(error) = self.control.renew(request, RENEWAL).await {
            tracing::debug!(%error, "could not leave; the lease runs out by itself");
        }
    }

    async fn renew(&self) -> bool {
        let sent = Sent::now();
        let request = request(self.lease.replica(), &self.controllers, false);
        match self.control.renew(request, RENEWAL.min(self.lease.remaining())).await {
            Ok(response) if response.lost => {
                self.lease.lose();
                true
            }
            Ok(_) => {
                self.lease.renewed(sent);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "could not renew the lease");
                false
            }
        }
    }
}

fn request(replica: Uuid, controllers: &[v1::ControllerReference], leave: bool) -> v1::RenewRequest {
    v1::RenewRequest { replica: replica.to_string(), controllers: controllers.to_vec(), leave }
}
