//! Projects, and kinds registered at run time, as homes of objects: they go last, when nothing is left in them.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{Row, controllers, delete, read, statement};
use crate::error::{Error, Result};

const PROJECT: &str = "project";
const OBJECT_KIND: &str = "object-kind";

/// Which of a home's objects keep it from being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residents {
    /// Those that aren't going themselves.
    Staying,
    /// All, since the home goes at once.
    All,
}

/// Whether `row` lives in `home`.
pub fn is_home(home: &Row, row: &Row) -> bool {
    match home.kind.as_str() {
        PROJECT => row.project == home.name,
        OBJECT_KIND => row.kind == home.name,
        _ => false,
    }
}

/// Fails with the names of what lives in a home that is to go, and doesn't go with it as one of `going`.
pub async fn refuse_if_populated(tx: &Transaction<'_>, home: &Row, going: &[Uuid], residents: Residents) -> Result<()> {
    let Some(column) = column(home) else { return Ok(()) };
    let sql = format!(
        "SELECT id, kind, project, name FROM objects
         WHERE {column} = $1 AND id <> ALL($2) AND ($3 OR deleted_at IS NULL) ORDER BY kind, project, name"
    );
    let rows = statement::query(tx, &sql, &[&home.name, &going, &(residents == Residents::All)]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let users = rows.iter().map(|row| delete::describe(&read::reference(row))).collect();
    Err(Error::InUse { kind: home.kind.clone(), name: home.name.clone(), users })
}

/// Whether anything is left in a deleting home.
pub async fn is_populated(tx: &Transaction<'_>, home: &Row) -> Result<bool> {
    let Some(column) = column(home) else { return Ok(false) };
    let sql = format!("SELECT 1 FROM objects WHERE {column} = $1 LIMIT 1");
    Ok(statement::query_opt(tx, &sql, &[&home.name]).await?.is_some())
}

/// The deleting homes of an object that may have been the last in them.
pub const DELETING: &str = "SELECT id FROM objects WHERE project = '' AND deleted_at IS NOT NULL
         AND ((kind = 'project' AND name = $1) OR (kind = 'object-kind' AND name = $2))";

/// Ends what projects on their way out use, since that may live in them and go before them; answers what was used.
pub async fn let_go(tx: &Transaction<'_>, closure: &[Row]) -> Result<BTreeSet<Uuid>> {
    let projects = closure.iter().filter(|row| row.kind == PROJECT).map(|row| row.id).collect::<Vec<_>>();
    if projects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = "DELETE FROM object_refs WHERE from_id = ANY($1) RETURNING to_id";
    Ok(statement::query(tx, sql, &[&projects]).await?.iter().map(|row| row.get("to_id")).collect())
}

/// A kind that is gone has no controllers.
pub async fn forget(tx: &Transaction<'_>, home: &Row) -> Result<()> {
    if home.kind == OBJECT_KIND { controllers::write_controllers(tx, &home.name, &[]).await } else { Ok(()) }
}

fn column(home: &Row) -> Option<&'static str> {
    match home.kind.as_str() {
        PROJECT => Some("project"),
        OBJECT_KIND => Some("kind"),
        _ => None,
    }
}
