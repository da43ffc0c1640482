//! One look at a release: what is under way, what the cluster shows, and the one thing to do about it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::render::Resource;
use threeport::render::namespaces::namespace;
use threeport::v1::HelmWorkloadInstance;
use threeport_sdk::controller::{Context, Error as Failure, EventType, Next};
use tokio::time::Instant;

use super::jobs::{Action, End, Known};
use super::records::revisions;
use super::release_plan::{Revision, Step, plan};
use super::source::Source;
use super::{ELSEWHERE, HelmWorkloadInstances, LOOK_AGAIN};
use crate::clients::helm::{Cause, Failed, Target, Upgrade};
use crate::clients::kubernetes::{Cluster, Deletion};
use crate::drift::Watch;
use crate::resource::{HELM_MANAGER, field_manager};
use crate::workload_instance::desired::{Owner, desired};
use crate::workload_instance::not_ready;
use crate::workload_instance::outcome::Round;

/// Helm may still be built.
const NOT_INSTALLED: Duration = Duration::from_secs(5);

/// What one reconcile works with.
pub struct Visit<'a> {
    pub controller: &'a HelmWorkloadInstances,
    pub cluster: Arc<Cluster>,
    pub watch: Arc<Watch>,
    pub source: Source,
    pub target: Target,
    /// Of what is wanted.
    pub hash: String,
    pub upgrade: Upgrade,
    pub until: Instant,
}

impl Visit<'_> {
    pub async fn run(self, context: &mut Context<HelmWorkloadInstance>) -> Result<Next, Failure> {
        let end = match self.controller.jobs.look(&context.object.meta().id) {
            Known::Running(action) => return Ok(self.in_progress(context, action)),
            Known::Ended(end) => Some(end),
            Known::Nothing => None,
        };
        let control_plane_id = context.control_plane_id().to_owned();
        let owner = Owner { control_plane_id: &control_plane_id, instance_id: &context.object.meta().id.clone() };
        let found = revisions(&self.cluster, &self.source.namespace, &self.source.release, owner);
        let found = match context.lease().guard(found).await? {
            Ok(found) => found,
            Err(error) => return Err(not_ready(context, &self.status(), error.reason(), &error.to_string(), false)),
        };
        let step = plan(&self.hash, &found, is_edited(context) && end.is_none());
        if let Step::Settled { deployed, failed } = step {
            if end.is_some() {
                self.controller.jobs.release(context).await?;
            }
            return self.settle(context, deployed, failed).await;
        }
        if step == Step::Leave {
            return Err(self.taken(context));
        }
        if let Some(End { result: Err(failed), hash, .. }) = end
            && (hash == self.hash || failed.cause.is_transient())
            && !matches!(step, Step::RollBack(_))
        {
            self.controller.jobs.release(context).await?;
            return self.failed(context, &failed);
        }
        self.act(context, step).await
    }

    /// Begins what is to be done. Nobody else is at it while we hold the release.
    async fn act(&self, context: &mut Context<HelmWorkloadInstance>, step: Step) -> Result<Next, Failure> {
        if !self.controller.jobs.acquire(context).await? {
            self.report_progress(context, "Elsewhere", "another replica runs helm for it");
            return Ok(Next::CheckIn(ELSEWHERE));
        }
        let (helm, target, upgrade) = (self.controller.helm.clone(), self.target.clone(), self.upgrade.clone());
        match step {
            Step::Recover(revision) => return self.recover(context, &revision).await,
            Step::Release => {
                if let Some(next) = self.prepare(context).await? {
                    self.controller.jobs.release(context).await?;
                    return Ok(next);
                }
                self.begin(context, Action::Release, async move { helm.upgrade(&target, &upgrade).await });
            }
            Step::RollBack(number) => {
                self.begin(context, Action::RollBack, async move { helm.roll_back(&target, number).await });
            }
            Step::Uninstall => {
                self.begin(context, Action::Uninstall, async move { helm.uninstall(&target).await });
            }
            Step::Leave | Step::Settled { .. } => {}
        }
        Ok(Next::CheckIn(LOOK_AGAIN))
    }

    fn begin(
        &self,
        context: &mut Context<HelmWorkloadInstance>,
        action: Action,
        operation: impl Future<Output = Result<(), Failed>> + Send + 'static,
    ) {
        self.controller.jobs.start(context, action, self.hash.clone(), operation);
        self.in_progress(context, action);
    }

    /// Whoever ran it is gone, and its helm with it: without its record the next operation takes over what it has made.
    async fn recover(&self, context: &mut Context<HelmWorkloadInstance>, stuck: &Revision) -> Result<Next, Failure> {
        // Nothing but the record leads to the hooks that it had begun to run.
        match self.controller.helm.read(&self.target, stuck.number).await {
            Ok(release) => self.note_hooks(context, &[&release]),
            Err(failed) => {
                self.controller.jobs.release(context).await?;
                return self.failed(context, &failed);
            }
        }
        let deleted = context.lease().guard(self.cluster.delete(&stuck.record, &stuck.uid)).await?;
        match deleted {
            Ok(Deletion::Gone | Deletion::Going(_)) => {}
            Err(error) => return Err(not_ready(context, &self.status(), error.reason(), &error.to_string(), false)),
        }
        let note =
            format!("revision {} was left {} by a process that died; it is done again", stuck.number, stuck.status);
        self.controller.jobs.release(context).await?;
        context.event(EventType::Warning, "Recovered", note.clone());
        self.report_progress(context, "Recovering", &note);
        Ok(Next::CheckIn(Duration::ZERO))
    }

    /// Claims and makes the namespace, so that it is ours to take away.
    async fn prepare(&self, context: &mut Context<HelmWorkloadInstance>) -> Result<Option<Next>, Failure> {
        let mut round = self.round(context, vec![namespace(&self.source.namespace)], self.status());
        // This is made by us, not by Helm.
        round.manager = field_manager(&context.object.meta().id);
        round.prepare(context).await
    }

    pub fn round(&self, context: &Context<HelmWorkloadInstance>, resources: Vec<Resource>, status: Value) -> Round {
        let instance_id = &context.object.meta().id;
        let owner = Owner { control_plane_id: context.control_plane_id(), instance_id };
        Round {
            cluster: self.cluster.clone(),
            watch: self.watch.clone(),
            wanted: desired(resources, owner),
            manager: HELM_MANAGER.to_owned(),
            is_simulated: self.source.is_simulated(),
            status,
            until: self.until,
        }
    }

    fn in_progress(&self, context: &mut Context<HelmWorkloadInstance>, action: Action) -> Next {
        let (reason, message) = match action {
            Action::Release => ("Releasing", "helm installs or upgrades it"),
            Action::RollBack => ("RollingBack", "what was wanted has failed; helm rolls back"),
            Action::Uninstall => ("Uninstalling", "helm removes what an earlier removal has left"),
        };
        self.report_progress(context, reason, message);
        Next::CheckIn(LOOK_AGAIN)
    }

    fn report_progress(&self, context: &mut Context<HelmWorkloadInstance>, reason: &str, message: &str) {
        let mut status = self.status();
        status["health"] = json!("Reconciling");
        context.set_status(status);
        context.condition("Released", false, reason, message);
        context.condition("Ready", false, reason, message);
    }

    fn taken(&self, context: &mut Context<HelmWorkloadInstance>) -> Failure {
        let Source { release, namespace, .. } = &self.source;
        let message = format!(
            "helm release `{release}` in namespace `{namespace}` isn't of this instance; uninstall that one, or choose another name or namespace"
        );
        context.condition("Released", false, "ReleaseNameTaken", message.clone());
        not_ready(context, &self.status(), "ReleaseNameTaken", &message, true)
    }

    /// Nothing came of it, and nothing is recorded: what helps is an edit, or time.
    pub fn failed(&self, context: &mut Context<HelmWorkloadInstance>, failed: &Failed) -> Result<Next, Failure> {
        let reason = failed.cause.reason();
        context.condition("Released", false, reason, failed.words.clone());
        let failure = not_ready(context, &self.status(), reason, &failed.words, !failed.cause.is_transient());
        if failed.cause == Cause::NotInstalled { Ok(Next::CheckIn(NOT_INSTALLED)) } else { Err(failure) }
    }

    pub fn status(&self) -> Value {
        self.source.status()
    }
}

/// Whether somebody has written the spec since it was last looked at: a failure is tried again then.
fn is_edited(context: &Context<HelmWorkloadInstance>) -> bool {
    let seen = context.object.status.as_ref().map_or(0, |status| status.observed_generation);
    (1..context.object.meta().generation).contains(&seen)
}
