//! Generations of definitions that instances pin: they live with their pin, not in the log.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::statement;
use crate::error::Result;

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
