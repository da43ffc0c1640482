//! Deletions with --cascade: what uses the objects goes with them.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::statement;
use crate::error::{Error, Result};

/// Objects that one deletion may draw in.
const MAX_OBJECTS: usize = 2000;

/// The objects and all that uses them or anything they own, users of users too; of a project or kind also what lives in
/// it. A user that is owned goes with its owner, which would make it again. Projects and kinds are never drawn in: that
/// a project names a runtime as its default is no reason to lose the project.
///
/// Nothing is locked here: whoever becomes a user in between is refused, or refuses, by the rules of any deletion.
pub async fn with_users(tx: &Transaction<'_>, roots: &[Uuid]) -> Result<Vec<Uuid>> {
    let rows = statement::query(
        tx,
        "WITH RECURSIVE going (id) AS (
             SELECT o.id FROM objects o WHERE o.id = ANY($1)
             UNION
             SELECT drawn.id FROM going g JOIN objects o ON o.id = g.id CROSS JOIN LATERAL (
                 SELECT c.id FROM objects c WHERE c.owner_id = o.id
                 UNION ALL
                 SELECT u.id FROM object_refs r JOIN objects u ON u.id = r.from_id
                 WHERE r.to_id = o.id AND u.kind NOT IN ('project', 'object-kind')
                 UNION ALL
                 SELECT o.owner_id WHERE o.owner_id IS NOT NULL AND o.id <> ALL($1)
                 UNION ALL
                 SELECT l.id FROM objects l WHERE o.kind = 'project' AND l.project = o.name
                 UNION ALL
                 SELECT l.id FROM objects l WHERE o.kind = 'object-kind' AND l.kind = o.name
             ) drawn)
         SELECT id FROM going ORDER BY id LIMIT $2",
        &[&roots, &i64::try_from(MAX_OBJECTS + 1).unwrap_or(i64::MAX)],
    )
    .await?;
    if rows.len() > MAX_OBJECTS {
        return Err(Error::TooMuch(format!("more than {MAX_OBJECTS} objects would go; delete them in parts")));
    }
    Ok(rows.iter().map(|row| row.get("id")).collect())
}
