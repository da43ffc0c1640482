//! What a round leaves in the inventory.

use threeport::v1::{InventoryEntry, ResourceReference};
use threeport_sdk::controller::{Context, Error as Failure};

use super::deployment::Deployment;
use super::outcome::Round;
use super::plan;
use super::removal::Removals;
use super::volume_claims;
use super::work::Outcome;
use crate::resource::is_same;

impl Round {
    /// Claims that stateful sets have made, looked for whenever one of those has changed.
    pub async fn volume_claims(
        &self,
        outcomes: &[Outcome],
        context: &Context<impl Deployment>,
    ) -> Result<Vec<InventoryEntry>, Failure> {
        let mut claims = Vec::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.error.is_none()) {
            let one = &self.wanted[outcome.index];
            let before = plan::entry(context.inventory(), &one.reference).map(|entry| entry.health.clone());
            if volume_claims::has_templates(&one.value) && before.as_ref() != Some(&outcome.entry.health) {
                // What can't be listed now is listed at the next change, and again when the instance goes.
                let found = context.lease().guard(volume_claims::of(&self.cluster, &one.value)).await?;
                claims.extend(found.unwrap_or_default());
            }
        }
        Ok(claims)
    }

    /// Leaves the inventory as it is now, with the store and with the watch.
    pub fn store(
        &self,
        context: &mut Context<impl Deployment>,
        outcomes: Vec<Outcome>,
        removals: Removals,
        claims: Vec<InventoryEntry>,
    ) {
        let mut now = context.inventory().to_vec();
        let (theirs, ours): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Outcome::is_others);
        let kept = ours.into_iter().map(|outcome| outcome.entry).chain(removals.kept).chain(claims).collect::<Vec<_>>();
        let mut gone = removals.gone;
        gone.extend(theirs.into_iter().filter_map(|outcome| outcome.entry.resource));
        gone.extend(superseded(context.inventory(), &kept));
        let changed = kept.into_iter().filter(|entry| !context.inventory().contains(entry)).collect::<Vec<_>>();
        let is_replaced = |entry: &InventoryEntry| {
            let same = |other: &InventoryEntry| other.resource == entry.resource;
            changed.iter().any(same) || entry.resource.as_ref().is_some_and(|known| gone.contains(known))
        };
        now.retain(|entry| !is_replaced(entry));
        now.extend(changed.iter().cloned());
        self.watch.expect(&context.object.meta().id, now);
        context.keep_inventory(changed);
        context.forget_inventory(gone);
    }
}

/// References by another version of the API to what is known by a new one.
fn superseded(inventory: &[InventoryEntry], kept: &[InventoryEntry]) -> Vec<ResourceReference> {
    let known = inventory.iter().filter_map(|entry| entry.resource.as_ref());
    let is_superseded = |known: &&ResourceReference| {
        let mut now = kept.iter().filter_map(|entry| entry.resource.as_ref());
        now.any(|now| is_same(now, known) && now != *known)
    };
    known.filter(is_superseded).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(api_version: &str, name: &str) -> InventoryEntry {
        let resource = ResourceReference {
            api_version: api_version.into(),
            kind: "HorizontalPodAutoscaler".into(),
            namespace: "n".into(),
            name: name.into(),
        };
        InventoryEntry { resource: Some(resource), uid: "u".into(), ..Default::default() }
    }

    #[test]
    fn a_new_version_of_the_api_replaces_the_entry_of_the_old_one() {
        let before = [entry("autoscaling/v1", "a"), entry("autoscaling/v1", "b")];
        assert_eq!(superseded(&before, &[entry("autoscaling/v2", "a")]), [before[0].resource.clone().unwrap()]);
        assert_eq!(superseded(&before, &[entry("autoscaling/v1", "a")]), []);
    }
}
