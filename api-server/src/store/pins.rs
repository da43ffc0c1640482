//! Generations of definitions that instances pin: they live with their pin, not in the log.

use deadpool_postgres::Transaction;
use serde_json::Value;
use threeport::json::{Violation, to_struct};
use threeport::v1::{self, ObjectMeta};
use uuid::Uuid;

use super::draft::Draft;
use super::plan::Plan;
use super::references::{Target, Targets, generation};
use super::statement;
use crate::error::{Error, Result};
use crate::rules;

pub const DEFINITION: &str = "workload-definition";
pub const INSTANCE: &str = "workload-instance";

/// The generation that a spec pins.
pub fn pin(kind: &str, spec: &Value) -> Option<i64> {
    let value = spec.get("definition_generation").filter(|_| kind == INSTANCE)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The definition that a draft uses.
fn definition<'t>(plan: &Plan<'_>, draft: &Draft, targets: &'t Targets) -> Option<(Uuid, i64, &'t Target)> {
    draft.uses.iter().find_map(|id| match &targets[id] {
        Target::Drafted(index) if plan.drafts[*index].kind.name == DEFINITION => {
            Some((*id, generation(&plan.drafts[*index]), &targets[id]))
        }
        Target::Stored(row) if row.kind == DEFINITION => Some((*id, row.generation, &targets[id])),
        _ => None,
    })
}

/// The definition at the generation that a draft pins, in the clear; none if it pins none or the present one. A generation
/// that is nowhere any more is the draft's violation.
pub async fn pinned_by(
    plan: &Plan<'_>,
    draft: &Draft,
    targets: &Targets,
) -> Result<Result<Option<v1::Object>, Violation>> {
    let Some(pinned) = pin(&draft.kind.name, &draft.spec) else { return Ok(Ok(None)) };
    let Some((id, present, target)) = definition(plan, draft, targets) else { return Ok(Ok(None)) };
    // One that is yet to come is what the rules refuse.
    if pinned >= present {
        return Ok(Ok(None));
    }
    // Against others who pin or drop generations of it.
    statement::execute(plan.tx, "SELECT 1 FROM objects WHERE id = $1 FOR NO KEY UPDATE", &[&id]).await?;
    let mut object = plan.used(target)?;
    let meta = object.meta.clone().unwrap_or_default();
    let Some((spec, status)) = kept(plan, id, pinned, &meta).await? else {
        let lost = format!(
            "generation {pinned} of workload-definition `{}` is not kept; pin {present}, the present one, or follow it",
            meta.name
        );
        return Ok(Err(Violation::new(draft.at("spec.definition_generation"), lost)));
    };
    object.meta.get_or_insert_default().generation = pinned;
    object.spec = Some(to_struct(spec));
    object.status = Some(to_struct(status));
    Ok(Ok(Some(object)))
}

/// A past generation in the clear: another's pin of it, or what the log still has, which becomes a pin.
async fn kept(plan: &Plan<'_>, id: Uuid, generation: i64, meta: &ObjectMeta) -> Result<Option<(Value, Value)>> {
    let kind = plan.registry.get(DEFINITION).ok_or_else(|| Error::UnknownKind(DEFINITION.to_owned()))?;
    let sql = "SELECT spec, status FROM pinned_generations WHERE definition_id = $1 AND generation = $2";
    if let Some(row) = statement::query_opt(plan.tx, sql, &[&id, &generation]).await? {
        let mut spec: Value = row.get("spec");
        plan.store.secrets.reveal(kind, id, &mut spec)?;
        return Ok(Some((spec, row.get("status"))));
    }
    let sql =
        "SELECT spec, status FROM changes WHERE object_id = $1 AND type IN ('created', 'spec') AND spec IS NOT NULL
               AND meta ->> 'generation' = $2::bigint::text ORDER BY commit_id DESC LIMIT 1";
    let Some(row) = statement::query_opt(plan.tx, sql, &[&id, &generation]).await? else { return Ok(None) };
    let stored: Value = row.get("spec");
    let mut spec = stored.clone();
    plan.store.secrets.reveal(kind, id, &mut spec)?;
    let status = match row.get("status") {
        Some(status) => status,
        None => rules::normalize(kind, meta, &mut spec.clone(), None)
            .ok()
            .and_then(|derived| derived.status)
            .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
    };
    statement::execute(
        plan.tx,
        "INSERT INTO pinned_generations (definition_id, generation, spec, status) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        &[&id, &generation, &stored, &status],
    )
    .await?;
    Ok(Some((spec, status)))
}

/// Keeps the present generations that drafts pin. Call when the definitions of the plan are stored.
pub async fn keep_present(plan: &Plan<'_>, targets: &Targets) -> Result<()> {
    for draft in &plan.drafts {
        let Some(pinned) = pin(&draft.kind.name, &draft.spec).filter(|_| draft.is_spec_changed()) else { continue };
        let Some((id, ..)) = definition(plan, draft, targets).filter(|(_, present, _)| *present == pinned) else {
            continue;
        };
        let sql = "INSERT INTO pinned_generations (definition_id, generation, spec, status)
                   SELECT id, generation, spec, status FROM objects WHERE id = $1 AND generation = $2 FOR NO KEY UPDATE
                   ON CONFLICT DO NOTHING RETURNING 1";
        let kept = "SELECT 1 FROM pinned_generations WHERE definition_id = $1 AND generation = $2";
        if statement::query_opt(plan.tx, sql, &[&id, &pinned]).await?.is_none()
            && statement::query_opt(plan.tx, kept, &[&id, &pinned]).await?.is_none()
        {
            // The definition moved on since it was read.
            return Err(Error::Conflict);
        }
    }
    Ok(())
}

/// Drops the stored generations of these definitions that nobody pins any more.
pub async fn drop_unpinned(tx: &Transaction<'_>, definitions: &[Uuid]) -> Result<()> {
    if definitions.is_empty() {
        return Ok(());
    }
    statement::execute(
        tx,
        "DELETE FROM pinned_generations p WHERE p.definition_id = ANY($1) AND NOT EXISTS (
             SELECT 1 FROM object_refs r JOIN objects o ON o.id = r.from_id
             WHERE r.to_id = p.definition_id AND o.spec ->> 'definition_generation' = p.generation::text)",
        &[&definitions],
    )
    .await?;
    Ok(())
}
