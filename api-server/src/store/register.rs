//! Writes of `ObjectKind`: a kind that is registered has to go together with all others, and brings its controllers.

use deadpool_postgres::GenericClient;
use threeport::json::{Violation, from_json, to_struct};
use threeport::object::Object;
use threeport::registry::Registry;
use threeport::v1::{self, ObjectKindSpec};

use super::draft::Draft;
use super::plan::Plan;
use super::{Row, Store, controllers, row, statement};
use crate::error::{Error, Result};
use crate::kinds;

impl Store {
    /// The stored kinds, with `new` added or in place of their namesakes.
    pub async fn kinds_with<C: GenericClient + Sync>(
        &self,
        client: &C,
        new: Vec<v1::ObjectKind>,
    ) -> Result<Vec<v1::ObjectKind>> {
        let sql = format!("SELECT {} FROM objects o WHERE o.kind = 'object-kind' ORDER BY o.name", row::COLUMNS);
        let rows = statement::query(client, &sql, &[]).await?;
        let stored = rows.iter().map(|row| self.object_kind(&Row::from(row))).collect::<Result<Vec<_>>>()?;
        let is_replaced = |kind: &v1::ObjectKind| new.iter().any(|other| other.meta().name == kind.meta().name);
        let mut kinds = stored.into_iter().filter(|kind| !is_replaced(kind)).collect::<Vec<_>>();
        kinds.extend(new);
        Ok(kinds)
    }
}

impl Plan<'_> {
    /// Checks the kinds that the plan registers; the kinds as they will be, if it registers any.
    pub async fn check_kinds(&mut self) -> Result<Option<Registry>> {
        let drafts = self.drafts.iter().filter(|draft| draft.kind.name == v1::ObjectKind::KIND).cloned();
        let drafts = drafts.collect::<Vec<_>>();
        if drafts.is_empty() {
            return Ok(None);
        }
        // Two servers that register a kind each have to see each other's.
        statement::execute(self.tx, "SELECT 1 FROM control_plane FOR UPDATE", &[]).await?;
        let mut typed = Vec::new();
        for draft in &drafts {
            let found = check_alone(draft)?;
            self.violations.extend(found.into_iter().map(|v| Violation::new(draft.at(&v.field), v.description)));
            let object = v1::Object {
                kind: draft.kind.name.clone(),
                meta: Some(draft.meta.clone()),
                spec: Some(to_struct(draft.spec.clone())),
                status: None,
            };
            typed.push(v1::ObjectKind::from_erased(object).map_err(|error| Error::Corrupt(error.to_string()))?);
        }
        if !self.violations.is_empty() {
            return Ok(None);
        }
        let kinds = self.store.kinds_with(self.tx, typed).await?;
        match kinds::registry_with(&kinds) {
            Ok(registry) => Ok(Some(registry)),
            Err(Error::Invalid(violations)) => {
                let at = &drafts[0];
                self.violations.extend(violations.into_iter().map(|v| Violation::new(at.at(&v.field), v.description)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the controllers of the kinds that the plan registers.
    pub async fn store_controllers(&self, registry: Option<&Registry>) -> Result<()> {
        let Some(registry) = registry else { return Ok(()) };
        for draft in self.drafts.iter().filter(|draft| draft.kind.name == v1::ObjectKind::KIND) {
            let kind = registry.get(&draft.meta.name).ok_or_else(|| Error::UnknownKind(draft.meta.name.clone()))?;
            controllers::write_controllers(self.tx, &kind.name, &kind.controllers).await?;
        }
        Ok(())
    }
}

fn check_alone(draft: &Draft) -> Result<Vec<Violation>> {
    let read = |spec: &serde_json::Value| {
        from_json::<ObjectKindSpec>(spec.clone()).map_err(|error| Error::Corrupt(format!("object-kind: {error}")))
    };
    let previous = draft.before.as_ref().map(|before| read(&before.spec)).transpose()?;
    let mut violations = kinds::check(&read(&draft.spec)?, previous.as_ref());
    if let Some(ours) = Registry::built_in().find(&draft.meta.name) {
        let taken = format!("`{}` is a name of the built-in kind {}; choose another", draft.meta.name, ours.name);
        violations.push(Violation::new("meta.name", taken));
    }
    Ok(violations)
}
