//! What composites expand into: the children that they want, and those stored that they no longer want.

use std::collections::HashSet;
use std::sync::Arc;

use threeport::json::Violation;
use uuid::Uuid;

use super::admit::{Author, Input, Key, Mode, check};
use super::draft::{Draft, entries};
use super::plan::{Plan, key};
use super::row::{self, Row};
use super::statement;
use crate::error::{Error, Result};
use crate::rules;

impl Plan<'_> {
    /// The children of the composites from draft `first` on; notes those that are stored and no longer wanted.
    pub async fn expand(&mut self, first: usize) -> Result<Vec<(String, Input)>> {
        let (mut children, mut wanted) = (Vec::new(), HashSet::new());
        let is_parent = |draft: &&Draft| draft.before.is_some() && rules::is_composite(&draft.kind);
        let parents = self.drafts[first..].iter().filter(is_parent);
        let parents = parents.map(|draft| draft.id).collect::<Vec<_>>();
        for index in first..self.drafts.len() {
            let draft = &self.drafts[index];
            let expanded = match rules::expand(&draft.kind, &draft.meta, &draft.spec) {
                Ok(expanded) => expanded,
                Err(violations) => {
                    let moved = violations.into_iter().map(|v| Violation::new(draft.at(&v.field), v.description));
                    let moved = moved.collect::<Vec<_>>();
                    self.violations.extend(moved);
                    continue;
                }
            };
            for child in expanded {
                let input = self.child(index, child)?;
                wanted.insert(input.1.key());
                let violations = check(&input.1);
                if violations.is_empty() {
                    children.push(input);
                } else {
                    self.failed.insert(input.1.key());
                    self.violations.extend(violations);
                }
            }
        }
        self.drop_unwanted(&parents, &wanted).await?;
        Ok(children)
    }

    fn child(&self, parent: usize, child: rules::Child) -> Result<(String, Input)> {
        let draft = &self.drafts[parent];
        let kind = self.registry.get(child.kind).ok_or_else(|| Error::UnknownKind(child.kind.to_owned()))?;
        let meta = threeport::v1::ObjectMeta {
            project: draft.meta.project.clone(),
            name: child.name,
            labels: entries(child.labels),
            annotations: entries(child.annotations),
            ..Default::default()
        };
        let input = Input {
            place: draft.place.clone(),
            mode: Mode::Apply,
            author: Author::Composite(parent),
            kind: Arc::clone(kind),
            meta,
            spec: child.spec,
        };
        Ok((place_of_child(draft, &input.meta.name), input))
    }

    async fn drop_unwanted(&mut self, parents: &[Uuid], wanted: &HashSet<Key>) -> Result<()> {
        if parents.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT {} FROM objects o WHERE o.owner_id = ANY($1) AND o.owner_controller IS NULL AND o.deleted_at IS NULL",
            row::COLUMNS
        );
        let rows = statement::query(self.tx, &sql, &[&parents]).await?;
        let unwanted = rows.iter().map(Row::from).filter(|row| !wanted.contains(&key(row)));
        self.dropped.extend(unwanted.map(|row| (row.id, row)));
        Ok(())
    }
}

/// Where a composite's spec speaks of this child: in its entry under `instances`, or all over.
fn place_of_child(parent: &Draft, child: &str) -> String {
    let instances = parent.spec.get("instances").and_then(serde_json::Value::as_array);
    let index = instances.into_iter().flatten().position(|instance| {
        let name = instance.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("{}-{name}", parent.meta.name) == child
    });
    index.map_or_else(|| parent.spec_place.clone(), |index| format!("{}.instances[{index}]", parent.spec_place))
}
