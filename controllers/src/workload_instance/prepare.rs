//! The part of a round that comes before something else may be done in its namespaces.

use threeport_sdk::controller::{Context, Error as Failure, Next};

use super::deployment::Deployment;
use super::outcome::Round;
use super::plan::Live;
use super::{claims, not_ready};

impl Round {
    /// Claims and makes the namespaces of this round, and touches nothing else; answers how to end if it can't go on.
    pub async fn prepare(&self, context: &mut Context<impl Deployment>) -> Result<Option<Next>, Failure> {
        let claimed = claims::record(context, self.cluster.runtime_id(), &self.wanted).await?;
        if !claimed.refused.is_empty() {
            return self.not_granted(context, &claimed.refused).await.map(Some);
        }
        let live = Live::new();
        let work = self.work(context, &claimed.seen, &live);
        let mut outcomes = Vec::with_capacity(self.wanted.len());
        for index in 0..self.wanted.len() {
            outcomes.push(work.ensure_shared(index).await?);
        }
        claims::record_made(context, self.cluster.runtime_id(), &self.wanted, &outcomes).await?;
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.error.as_ref()) {
            return Err(not_ready(context, &self.status, error.reason(), &error.to_string(), false));
        }
        context.keep_inventory(outcomes.into_iter().map(|outcome| outcome.entry).collect());
        Ok(None)
    }
}
