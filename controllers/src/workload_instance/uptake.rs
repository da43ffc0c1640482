//! Waiting a moment until the cluster has taken up what was applied: one report then, instead of one that it is on its way
//! and another that it is there.

use std::time::Duration;

use threeport_sdk::controller::{Context, Error as Failure};
use tokio::time::{Instant, timeout_at};

use super::deployment::Deployment;
use super::outcome::Round;
use super::work::Outcome;
use crate::health::{Health, State};

/// What takes longer is reported as it is; the watch tells of the rest.
const MOMENT: Duration = Duration::from_millis(300);

impl Round {
    /// Notes how what was applied is after a moment at most.
    pub async fn wait_for_uptake(
        &self,
        context: &Context<impl Deployment>,
        outcomes: &mut [Outcome],
    ) -> Result<(), Failure> {
        // Who undid what was repaired may do it again, and nothing is compared while this waits.
        if outcomes.iter().any(|outcome| outcome.error.is_some() || !outcome.notes.is_empty()) {
            return Ok(());
        }
        let instance_id = context.object.meta().id.as_str();
        let deadline = (Instant::now() + MOMENT).min(self.until);
        let is_waited_for = |outcome: &&mut Outcome| outcome.has_written && outcome.health.state == State::Reconciling;
        for outcome in outcomes.iter_mut().filter(is_waited_for) {
            let uptake = timeout_at(deadline, self.watch.is_taken_up(instance_id, &outcome.entry));
            if context.lease().guard(uptake).await? != Ok(true) {
                return Ok(());
            }
            outcome.health = Health::healthy();
            outcome.entry.health = outcome.health.summary();
        }
        Ok(())
    }
}
