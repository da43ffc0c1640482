//! What a write answers: each object as stored, what became of it, and what its author should know.

use std::collections::HashMap;

use threeport::json::from_struct;
use threeport::registry::Registry;
use threeport::v1::{self, ApplyResult};
use uuid::Uuid;

use super::admit::{Author, Input};
use super::draft::Draft;
use super::plan::Plan;
use super::references::Target;
use super::{Row, Visibility, delete, differences, pins, read, row, statement};
use crate::error::{Error, Result};
use crate::rules::Definition;

/// Users of a changed definition that are looked at for those that it no longer fits.
const USERS: i64 = 100;

impl Plan<'_> {
    /// One result for each input, in their order; the children of composites inside.
    pub async fn results(&self, inputs: &[Input], rows: &HashMap<Uuid, Row>) -> Result<Vec<ApplyResult>> {
        // Work on what they use, or their own, is all that data could wait for.
        let may_wait = |draft: &&Draft| !(Registry::is_data(&draft.kind.name) && draft.kind.references.is_empty());
        let ids = self.drafts.iter().filter(may_wait).map(|draft| draft.id).collect::<Vec<_>>();
        let unsettled = read::unsettled(self.tx, &ids).await?;
        let owners = rows.values().filter_map(|row| row.owner_id);
        let unknown = owners.filter(|id| !rows.contains_key(id)).collect::<Vec<_>>();
        let mut owners = read::references(self.tx, &unknown).await?;
        owners.extend(rows.values().map(|row| (row.id, row.reference())));
        let children_of = self.children();
        let mut results = HashMap::new();
        // Children come after their parents in the plan: from the back, each is there when its parent takes it.
        for (index, draft) in self.drafts.iter().enumerate().rev() {
            let row = rows.get(&draft.id).ok_or_else(|| Error::Corrupt(format!("{} was not stored", draft.id)))?;
            let owner = row.owner_id.and_then(|id| owners.get(&id).cloned());
            let settled = !unsettled.contains(&row.id);
            let object = self.store.object_of(&draft.kind, row, owner, settled, Visibility::Redacted)?;
            let children = children_of.get(&index).into_iter().flatten();
            let mut children = children.filter_map(|child| results.remove(child)).collect::<Vec<_>>();
            children.extend(self.dropped_results(draft.id)?);
            let warnings = draft.warnings.clone();
            let outcome = draft.outcome().to_owned();
            let differences = differences_of(draft, row);
            let result = ApplyResult { object: Some(object), outcome, differences, children, warnings };
            results.insert(index, result);
        }
        let indexes = self.drafts.iter().enumerate().map(|(index, draft)| (draft.key(), index));
        let indexes = indexes.collect::<HashMap<_, _>>();
        Ok(inputs.iter().filter_map(|input| results.remove(indexes.get(&input.key())?)).collect())
    }

    /// The children of the plan's composites, all by index.
    fn children(&self) -> HashMap<usize, Vec<usize>> {
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            if let Author::Composite(parent) = draft.author {
                children.entry(parent).or_default().push(index);
            }
        }
        children
    }

    fn dropped_results(&self, owner: Uuid) -> Result<Vec<ApplyResult>> {
        let dropped = self.dropped.iter().filter(|(_, row)| row.owner_id == Some(owner));
        let result = |row: &Row| -> Result<ApplyResult> {
            let object = self.store.object(row, None, false, Visibility::Redacted)?;
            Ok(ApplyResult { object: Some(object), outcome: "deleted".into(), ..Default::default() })
        };
        dropped.map(|(_, row)| result(row)).collect()
    }

    /// Those who use the definitions that the plan changes, but aren't in it themselves: the first ones of each, and how many
    /// more there are.
    pub async fn users_of_changed(&self) -> Result<HashMap<Uuid, (Vec<Row>, i64)>> {
        let is_changed =
            |draft: &&Draft| draft.kind.name == pins::DEFINITION && draft.before.is_some() && draft.is_spec_changed();
        let changed = self.drafts.iter().filter(is_changed).map(|draft| draft.id).collect::<Vec<_>>();
        if changed.is_empty() {
            return Ok(HashMap::new());
        }
        let drafted = self.drafts.iter().map(|draft| draft.id).collect::<Vec<_>>();
        let sql = format!(
            "SELECT d.id AS definition_id, o.total, {} FROM UNNEST($1::uuid[]) AS d (id) CROSS JOIN LATERAL (
                 SELECT o.*, count(*) OVER () AS total FROM object_refs r JOIN objects o ON o.id = r.from_id
                 WHERE r.to_id = d.id AND o.kind = $4 AND o.id <> ALL($2) AND o.deleted_at IS NULL
                   AND o.spec ->> 'definition_generation' IS NULL ORDER BY o.id LIMIT $3) o",
            row::COLUMNS
        );
        let rows = statement::query(self.tx, &sql, &[&changed, &drafted, &USERS, &pins::INSTANCE]).await?;
        let mut users: HashMap<Uuid, (Vec<Row>, i64)> = HashMap::new();
        for row in &rows {
            let (known, unseen) = users.entry(row.get("definition_id")).or_default();
            known.push(Row::from(row));
            *unseen = (row.get::<_, i64>("total") - USERS).max(0);
        }
        Ok(users)
    }

    /// Tells who changes a definition which of its instances it no longer fits: they stay as they run.
    pub fn warn_of_misfits(&mut self, users: &HashMap<Uuid, (Vec<Row>, i64)>) -> Result<()> {
        for index in 0..self.drafts.len() {
            let Some((users, unseen)) = users.get(&self.drafts[index].id) else { continue };
            let definition = Definition::among(&[self.used(&Target::Drafted(index))?]);
            let mut warnings = Vec::new();
            if *unseen > 0 {
                warnings
                    .push(format!("{unseen} more of its instances were not looked at; watch them for `ValuesInvalid`"));
            }
            if let Some(definition) = definition {
                for user in users {
                    warnings.extend(self.misfit(user, &definition)?);
                }
            }
            self.drafts[index].warnings.extend(warnings);
        }
        Ok(())
    }

    fn misfit(&self, user: &Row, definition: &Definition) -> Result<Option<String>> {
        let kind = self.registry.get(&user.kind).ok_or_else(|| Error::UnknownKind(user.kind.clone()))?;
        let object = self.store.object_of(kind, user, None, true, Visibility::Revealed)?;
        let spec = object.spec.map(from_struct).unwrap_or_default();
        let violations = definition.check(&object.meta.unwrap_or_default(), &spec);
        let why = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let text = format!("{} no longer fits and stays as it runs: {why}", delete::describe(&user.reference()));
        Ok((!violations.is_empty()).then_some(text))
    }
}

fn differences_of(draft: &Draft, after: &Row) -> Vec<v1::Difference> {
    let before = draft.before.as_ref();
    let old_meta = before.map(|before| before.row.meta(None));
    let mut differences = differences::of_meta(old_meta.as_ref(), &after.meta(None));
    differences.extend(differences::of_specs(&draft.kind, before.map(|before| &before.spec), Some(&draft.spec)));
    differences
}
