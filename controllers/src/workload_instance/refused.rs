//! Rounds that end before anything is applied: what was refused, or could not be looked at.

use serde_json::{Value, json};
use threeport::v1::{ResourceReference, SharedResource};
use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::deployment::Deployment;
use super::outcome::{FIRST_LOOK, Round, runtime_of};
use super::removal::Going;
use super::{Desired, SLOW_LOOK, not_ready, unseen};
use crate::clients::kubernetes::{Error, Result as ClusterResult};
use crate::resource::is_terminating;

impl Round {
    /// Namespaces or CRDs that this instance may not use, or not yet.
    pub async fn not_granted(
        &self,
        context: &mut Context<impl Deployment>,
        refused: &[SharedResource],
    ) -> Result<Next, Failure> {
        if let Some(denied) = refused.iter().find(|refused| refused.reason != "BeingDeleted") {
            return self.denied(context, denied);
        }
        let mut going = None;
        for one in refused {
            going = going.or(self.going(context, one).await?);
        }
        let names = refused.iter().map(|one| format!("{} `{}`", one.kind, one.name)).collect::<Vec<_>>().join(", ");
        let message = match &going {
            Some(Ok(going)) => format!("is made again once it is gone: {}", going.why),
            Some(Err(error)) => format!("{names} is being deleted: {error}"),
            None => format!("{names} is being deleted and is made again then"),
        };
        let mut status = self.status.clone();
        status["health"] = json!("Reconciling");
        context.set_status(status);
        context.condition("Ready", false, "BeingDeleted", message);
        let going = going.and_then(Result::ok);
        Ok(Next::CheckIn(going.map_or(FIRST_LOOK, |going| going.next_look())))
    }

    /// What the cluster says of something that its last user is about to delete, if it is on its way.
    async fn going(
        &self,
        context: &Context<impl Deployment>,
        refused: &SharedResource,
    ) -> Result<Option<ClusterResult<Going>>, Failure> {
        let is_refused = |one: &&Desired| {
            let ResourceReference { kind, name, .. } = &one.reference;
            one.is_shared() && refused.kind == *kind && refused.name == *name
        };
        let Some(one) = self.wanted.iter().find(is_refused) else { return Ok(None) };
        let live = context.lease().guard(self.cluster.get(&one.reference)).await?;
        let going = |live: Value| is_terminating(&live).then(|| Going::of(&live, &one.reference));
        Ok(live.map(|live| live.and_then(going)).transpose())
    }

    fn denied(&self, context: &mut Context<impl Deployment>, denied: &SharedResource) -> Result<Next, Failure> {
        let SharedResource { kind, name, project, .. } = denied;
        let (reason, message, needs_edit) = match denied.reason.as_str() {
            "Reserved" => {
                ("NamespaceReserved", format!("{kind} `{name}` is reserved for the cluster; use another one"), true)
            }
            "OtherProject" => {
                let message =
                    format!("{kind} `{name}` belongs to project `{project}` on this runtime; use another one");
                context.set_status(unseen(&self.status));
                context.condition("Ready", false, "NamespaceTaken", message);
                // It may become free, like any conflict.
                return Ok(Next::CheckIn(SLOW_LOOK));
            }
            other => ("ClaimRefused", format!("{kind} `{name}` can't be used now ({other}); trying again"), false),
        };
        Err(not_ready(context, &self.status, reason, &message, needs_edit))
    }

    pub fn unreachable(&self, context: &mut Context<impl Deployment>, error: &Error) -> Failure {
        let message = format!("runtime `{}`: {error}", runtime_of(context));
        not_ready(context, &self.status, error.reason(), &message, false)
    }
}
