//! Helm's operations that outlast a reconcile: started by one, looked at by the next, which the end of each wakes.
//!
//! A lease of its own, held from before an operation begins until its end has been seen, keeps other replicas from the
//! release. What an operation has to say is known in the process that ran it alone; if nobody asks for it in time, whoever
//! looks next begins anew from what the cluster shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use threeport::object::Object;
use threeport::v1::{AcquireLeaseRequest, ControllerReference, HelmWorkloadInstance, WakeItem};
use threeport_sdk::client::ControlClient;
use threeport_sdk::controller::{Context, Error as Failure, LeaseGuard};
use tokio::task::JoinHandle;

use crate::clients::helm::Failed;

/// How long an end waits for a reconcile that asks.
const KEPT: Duration = Duration::from_secs(30);
/// For an operation that is to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

/// What is done to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Release,
    RollBack,
    Uninstall,
}

/// Operations under way in this process, by instance. Cheap to clone.
#[derive(Clone, Default)]
pub struct Jobs {
    running: Arc<Mutex<HashMap<String, Job>>>,
}

struct Job {
    action: Action,
    hash: String,
    lease: LeaseGuard,
    ended: Arc<Mutex<Option<Result<(), Failed>>>>,
    task: JoinHandle<()>,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub action: Action,
    /// Of what was to be released.
    pub hash: String,
    pub result: Result<(), Failed>,
}

/// What is known here of an instance's operation.
pub enum Known {
    Nothing,
    Running(Action),
    Ended(End),
}

impl Jobs {
    /// Looks; an end is told once.
    pub fn look(&self, instance_id: &str) -> Known {
        let mut running = self.locked();
        let Some(job) = running.get(instance_id) else { return Known::Nothing };
        let Some(result) = locked(&job.ended).take() else {
            // Of one under a lost lease nothing will be heard.
            if job.lease.is_held() && !job.task.is_finished() {
                return Known::Running(job.action);
            }
            running.remove(instance_id);
            return Known::Nothing;
        };
        job.task.abort();
        let end = End { action: job.action, hash: job.hash.clone(), result };
        running.remove(instance_id);
        Known::Ended(end)
    }

    /// Keeps other replicas from the release; false if one of them is at it.
    pub async fn acquire(&self, context: &Context<HelmWorkloadInstance>) -> Result<bool, Failure> {
        let request = lease_request(context.lease(), &context.object.meta().id, false);
        Ok(context.lease().guard(context.control().acquire_lease(request)).await??.held)
    }

    /// Lets others at the release again.
    pub async fn release(&self, context: &Context<HelmWorkloadInstance>) -> Result<(), Failure> {
        let request = lease_request(context.lease(), &context.object.meta().id, true);
        context.lease().guard(context.control().acquire_lease(request)).await??;
        Ok(())
    }

    /// Begins an operation. Its lease must be held.
    pub fn start(
        &self,
        context: &Context<HelmWorkloadInstance>,
        action: Action,
        hash: String,
        operation: impl Future<Output = Result<(), Failed>> + Send + 'static,
    ) {
        let instance_id = context.object.meta().id.clone();
        let (lease, control) = (context.lease().clone(), context.control().clone());
        let ended = Arc::new(Mutex::new(None));
        let task = {
            let (jobs, ended, lease, instance_id) = (self.clone(), ended.clone(), lease.clone(), instance_id.clone());
            tokio::spawn(async move {
                let result = operation.await;
                *locked(&ended) = Some(result);
                wake(&control, &instance_id).await;
                tokio::time::sleep(KEPT).await;
                if jobs.drop_unseen(&instance_id, &ended) {
                    let _ = control.acquire_lease(lease_request(&lease, &instance_id, true)).await;
                }
            })
        };
        self.locked().insert(instance_id, Job { action, hash, lease, ended, task });
    }

    /// Ends an operation that nobody wants any more.
    pub async fn stop(&self, instance_id: &str) {
        let job = self.locked().remove(instance_id);
        if let Some(mut job) = job {
            // Dropping it closes what keeps Helm alive.
            job.task.abort();
            let _ = tokio::time::timeout(STOPS_WITHIN, &mut job.task).await;
        }
    }

    /// Whether this very end was still waiting to be seen.
    fn drop_unseen(&self, instance_id: &str, ended: &Arc<Mutex<Option<Result<(), Failed>>>>) -> bool {
        let mut running = self.locked();
        let is_it = running.get(instance_id).is_some_and(|job| Arc::ptr_eq(&job.ended, ended));
        if is_it {
            running.remove(instance_id);
        }
        is_it
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        locked(&self.running)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lease_request(lease: &LeaseGuard, instance_id: &str, release: bool) -> AcquireLeaseRequest {
    let kind = HelmWorkloadInstance::KIND;
    AcquireLeaseRequest { replica: lease.replica().to_string(), name: format!("{kind}/{kind}/{instance_id}"), release }
}

async fn wake(control: &ControlClient, instance_id: &str) {
    let kind = HelmWorkloadInstance::KIND.to_owned();
    let controller = Some(ControllerReference { kind: kind.clone(), name: kind });
    let item = WakeItem { controller, object_id: instance_id.to_owned(), drift: false };
    if let Err(error) = control.wake(vec![item]).await {
        // Its next look comes by itself.
        tracing::warn!(instance_id, %error, "an instance can't be woken");
    }
}
