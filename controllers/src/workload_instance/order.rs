//! In which order an instance is taken down: against that of its application, which the store doesn't keep. Pure.

use std::cmp::Reverse;

use threeport::v1::InventoryEntry;

use super::desired::phase;
use crate::resource::{group, is_crd};

/// What of an inventory defines kinds, and so decides what comes when.
pub struct Order {
    own_groups: Vec<String>,
}

impl Order {
    pub fn of(inventory: &[InventoryEntry]) -> Self {
        let definitions = inventory.iter().filter_map(|entry| entry.resource.as_ref()).filter(|known| is_crd(known));
        // Kubernetes names them `<plural>.<group>`.
        let own_groups = definitions.filter_map(|known| known.name.split_once('.')).map(|(_, group)| group.to_owned());
        Self { own_groups: own_groups.collect() }
    }

    /// What was applied last comes first.
    pub fn backwards(&self, mut entries: Vec<InventoryEntry>) -> Vec<InventoryEntry> {
        let phase = |entry: &InventoryEntry| entry.resource.as_ref().map_or(0, |known| phase(known, &self.own_groups));
        entries.reverse();
        entries.sort_by_key(|entry| Reverse(phase(entry)));
        entries
    }

    /// Whether it is of a kind that a definition beside it makes: what looks after it is often beside it, too.
    pub fn is_custom(&self, entry: &InventoryEntry) -> bool {
        entry.resource.as_ref().is_some_and(|known| self.own_groups.iter().any(|own| own == group(&known.api_version)))
    }
}

#[cfg(test)]
mod tests {
    use threeport::v1::ResourceReference;

    use super::*;

    #[test]
    fn a_custom_resource_goes_before_its_operator_and_that_before_its_account() {
        let entry = |api_version: &str, kind: &str, name: &str| InventoryEntry {
            resource: Some(ResourceReference {
                api_version: api_version.into(),
                kind: kind.into(),
                name: name.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        // As the store has them: by version and kind.
        let inventory = [
            entry("acme.io/v1", "Widget", "x"),
            entry("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "x"),
            entry("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.acme.io"),
            entry("apps/v1", "Deployment", "x"),
            entry("v1", "ServiceAccount", "x"),
        ];
        let order = Order::of(&inventory);
        let kinds = order.backwards(inventory.to_vec()).into_iter().filter_map(|entry| entry.resource);
        let kinds = kinds.map(|known| known.kind).collect::<Vec<_>>();
        let expected =
            ["ValidatingWebhookConfiguration", "Widget", "Deployment", "ServiceAccount", "CustomResourceDefinition"];
        assert_eq!(kinds, expected);
        assert!(order.is_custom(&inventory[0]) && !order.is_custom(&inventory[3]));
    }
}
