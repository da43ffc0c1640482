//! All kinds that this process knows: ours, and those registered at run time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use prost_reflect::DescriptorPool;

use crate::kind::Kind;
use crate::object;
use crate::v1::{KindInfo, TableColumn};

/// Kinds by name, and the descriptors that describe them.
#[derive(Clone, Debug)]
pub struct Registry {
    pool: DescriptorPool,
    kinds: BTreeMap<String, Arc<Kind>>,
}

static BUILT_IN: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry { pool: crate::POOL.clone(), kinds: BTreeMap::new() };
    for entry in object::entries() {
        let message = registry.pool.get_message_by_name(entry.message).expect("the list names messages of the API");
        let mut kind = Kind::new(entry.name, message, entry.is_in_project, entry.controllers);
        kind.aliases = entry.aliases.iter().map(ToString::to_string).collect();
        kind.columns = entry.columns.iter().map(|(title, field)| column(title, field)).collect();
        registry.kinds.insert(entry.name.to_owned(), Arc::new(kind));
    }
    registry
});

fn column(title: &str, field: &str) -> TableColumn {
    TableColumn { title: title.to_owned(), field: field.to_owned(), wide: None }
}

impl Registry {
    /// Our own kinds.
    pub fn built_in() -> &'static Registry {
        &BUILT_IN
    }

    /// Ours and others: `pool` describes all of them.
    #[must_use]
    pub fn with(pool: DescriptorPool, others: impl IntoIterator<Item = Kind>) -> Self {
        let mut registry = Self { pool, kinds: BUILT_IN.kinds.clone() };
        registry.kinds.extend(others.into_iter().map(|kind| (kind.name.clone(), Arc::new(kind))));
        registry
    }

    /// Whether nobody can ever reconcile objects of this kind: it is ours and has no controller.
    pub fn is_data(name: &str) -> bool {
        BUILT_IN.get(name).is_some_and(|kind| kind.controllers.is_empty())
    }

    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// The kind of this exact name.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(name)
    }

    /// The kind of this name, plural or alias.
    pub fn find(&self, name: &str) -> Option<&Arc<Kind>> {
        self.get(name)
            .or_else(|| self.kinds().find(|kind| kind.plural == name || kind.aliases.iter().any(|alias| alias == name)))
    }

    /// What a client must know of all kinds.
    pub fn infos(&self) -> Vec<KindInfo> {
        let info = |kind: &Arc<Kind>| KindInfo {
            name: kind.name.clone(),
            plural: kind.plural.clone(),
            message: kind.message.full_name().to_owned(),
            in_project: kind.is_in_project,
            controllers: kind.controllers.iter().map(|controller| controller.name.clone()).collect(),
            columns: kind.columns.clone(),
            aliases: kind.aliases.clone(),
        };
        self.kinds().map(info).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_secrets_are_read_from_the_descriptors() {
        let kind = Registry::built_in().get("workload").unwrap();
        let references = kind.references.iter().map(|r| format!("{} -> {}", r.path, r.kind)).collect::<Vec<_>>();
        assert_eq!(
            references,
            ["definition -> workload-definition", "instances[].runtime -> kubernetes-runtime-instance"]
        );
        let sensitive = kind.sensitive.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(sensitive, ["secret_data[]"]);
        let runtime = Registry::built_in().get("kubernetes-runtime-instance").unwrap();
        assert_eq!(runtime.outputs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["simulated"]);
    }

    #[test]
    fn every_reference_names_a_kind() {
        let registry = Registry::built_in();
        for kind in registry.kinds() {
            for reference in &kind.references {
                assert!(
                    registry.get(&reference.kind).is_some(),
                    "{}.{} names unknown kind {}",
                    kind.name,
                    reference.path,
                    reference.kind
                );
            }
        }
    }
}
