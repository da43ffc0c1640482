//! Rounds that end before anything is applied: what was refused, or could not be looked at.

use serde_json::json;
use threeport::v1::SharedResource;
use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::deployment::Deployment;
use super::outcome::{FIRST_LOOK, Round, runtime_of};
use super::removal::Removals;
use super::{claims, not_ready};
use crate::clients::kubernetes::Error;

impl Round {
    /// Namespaces or CRDs that this instance may not use, or not yet.
    pub async fn not_granted(
        &self,
        context: &mut Context<impl Deployment>,
        refused: &[SharedResource],
    ) -> Result<Next, Failure> {
        if let Some(denied) = refused.iter().find(|refused| refused.reason != "BeingDeleted") {
            return Err(self.denied(context, denied));
        }
        let mut removals = Removals::default();
        let released = claims::finish_releases(context, &self.cluster, &self.manager, &self.wanted, refused).await?;
        removals.note_released(released);
        let names = refused.iter().map(|one| format!("{} `{}`", one.kind, one.name)).collect::<Vec<_>>().join(", ");
        let message = match (removals.failed.first(), removals.going.first()) {
            (Some((_, error)), _) => format!("{names} is being deleted: {error}"),
            (None, Some(going)) => format!("is made again once it is gone: {}", going.why),
            (None, None) => format!("{names} has just been deleted and is made again"),
        };
        let mut status = self.status.clone();
        status["health"] = json!("Reconciling");
        context.set_status(status);
        context.condition("Ready", false, "BeingDeleted", message);
        Ok(Next::CheckIn(removals.next_look().unwrap_or(FIRST_LOOK)))
    }

    fn denied(&self, context: &mut Context<impl Deployment>, denied: &SharedResource) -> Failure {
        let SharedResource { kind, name, project, .. } = denied;
        let (reason, message, needs_edit) = match denied.reason.as_str() {
            "Reserved" => {
                ("NamespaceReserved", format!("{kind} `{name}` is reserved for the cluster; use another one"), true)
            }
            "OtherProject" => (
                "NamespaceTaken",
                format!("{kind} `{name}` belongs to project `{project}` on this runtime; use another one"),
                true,
            ),
            other => ("ClaimRefused", format!("{kind} `{name}` can't be used now ({other}); trying again"), false),
        };
        not_ready(context, &self.status, reason, &message, needs_edit)
    }

    pub fn unreachable(&self, context: &mut Context<impl Deployment>, error: &Error) -> Failure {
        let message = format!("runtime `{}`: {error}", runtime_of(context));
        not_ready(context, &self.status, error.reason(), &message, false)
    }
}
