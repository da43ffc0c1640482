//! Refuses objects that would use themselves through others: they could never be deleted.

use std::collections::{HashMap, HashSet};

use threeport::json::Violation;
use threeport::kind::Kind;
use threeport::registry::Registry;
use uuid::Uuid;

use super::plan::Plan;
use crate::error::Result;

impl Plan<'_> {
    /// Objects that use each other in a circle could never be deleted.
    pub async fn refuse_circles(&mut self) -> Result<()> {
        for index in 0..self.drafts.len() {
            let draft = &self.drafts[index];
            if draft.uses.is_empty() || !may_circle(&self.registry, &draft.kind) {
                continue;
            }
            if self.reaches(draft.id).await? {
                let circle =
                    format!("{} `{}` would use itself, perhaps through others", draft.kind.name, draft.meta.name);
                self.violations.push(Violation::new(draft.at("spec"), circle));
            }
        }
        Ok(())
    }

    /// Whether following uses from an object leads back to it. Drafts lead where they will, all others where they do.
    async fn reaches(&self, start: Uuid) -> Result<bool> {
        let drafts = self.drafts.iter().map(|draft| (draft.id, draft)).collect::<HashMap<_, _>>();
        let (mut queue, mut seen) = (drafts[&start].uses.clone(), HashSet::new());
        while let Some(id) = queue.pop() {
            if id == start {
                return Ok(true);
            }
            if !seen.insert(id) {
                continue;
            }
            match drafts.get(&id) {
                Some(draft) => queue.extend(&draft.uses),
                None => queue.extend(super::delete::targets_of(self.tx, &[id]).await?),
            }
        }
        Ok(false)
    }
}

/// Whether references can lead from objects of a kind back to that kind.
fn may_circle(registry: &Registry, kind: &Kind) -> bool {
    let (mut queue, mut seen) = (vec![kind.name.as_str()], HashSet::new());
    while let Some(name) = queue.pop() {
        for reference in registry.get(name).into_iter().flat_map(|kind| &kind.references) {
            if reference.kind == kind.name {
                return true;
            }
            if seen.insert(reference.kind.as_str()) {
                queue.push(&reference.kind);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_kinds_never_circle() {
        let registry = Registry::built_in();
        for kind in registry.kinds() {
            assert!(!may_circle(registry, kind), "{}", kind.name);
        }
    }
}
