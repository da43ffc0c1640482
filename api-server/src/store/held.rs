//! What a Finish locks, in the order of all writers: objects first, then work.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::ending::Ending;
use super::next_look::Standing;
use super::row::{COLUMNS, Row};
use super::status::View;
use super::{delete, work};
use crate::error::Result;

/// The controllers' work on the object, and what stands of it.
const WORK: &str =
    "SELECT object_id, controller, wanted, done, attempts, holder, epoch, full_looks, observed_generation, ready
     FROM work WHERE object_id = ANY($1) ORDER BY object_id, controller";

/// An object and its work under a lease that stands.
pub struct Held {
    pub row: Row,
    pub standing: Standing,
    /// All controllers' views, this one's as it will be. Only who has locked the object changes them.
    pub views: Vec<View>,
}

impl Held {
    /// Locks the object and looks at its work, which others may still wake or take over.
    pub async fn look(tx: &Transaction<'_>, replica: Uuid, ending: &Ending) -> Result<Self> {
        let object =
            tx.prepare_cached(&format!("SELECT {COLUMNS} FROM objects o WHERE o.id = $1 FOR NO KEY UPDATE")).await?;
        let work = tx.prepare_cached(WORK).await?;
        let ids = [ending.object];
        let (id, ids): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&ending.object], [&ids.as_slice()]);
        // Two statements on one round trip: the second sees what committed while the first waited.
        let (object, work) = tokio::try_join!(tx.query_opt(&object, &id), tx.query(&work, &ids))?;
        let row = object.as_ref().map(Row::from).filter(|row| row.kind == ending.kind);
        let row = row.ok_or_else(|| work::lease_lost(ending.object))?;
        Self::of(row, &work, replica, ending)
    }

    /// Locks the work, together with that of the objects which are to be woken. From here on no lock of an object is waited
    /// for.
    pub async fn lock(
        self,
        tx: &Transaction<'_>,
        replica: Uuid,
        ending: &Ending,
        woken: &BTreeSet<Uuid>,
    ) -> Result<Self> {
        let work = tx.prepare_cached(&format!("{WORK} FOR UPDATE")).await?;
        let mut ids = woken.iter().copied().collect::<Vec<_>>();
        ids.push(self.row.id);
        let mut work = tx.query(&work, &[&ids]).await?;
        work.retain(|stored| stored.get::<_, Uuid>("object_id") == self.row.id);
        Self::of(self.row, &work, replica, ending)
    }

    /// Takes what this controller says of Ready now.
    pub fn hear(&mut self, ending: &Ending) {
        for view in self.views.iter_mut().filter(|view| view.controller == ending.controller) {
            view.ready = ending.ready().or_else(|| view.ready.take());
        }
    }

    /// Fails unless the lease is this replica's.
    fn of(row: Row, work: &[tokio_postgres::Row], replica: Uuid, ending: &Ending) -> Result<Self> {
        let is_own = |stored: &&tokio_postgres::Row| {
            stored.get::<_, &str>("controller") == ending.controller
                && stored.get::<_, Option<Uuid>>("holder") == Some(replica)
                && stored.get::<_, i64>("epoch") == ending.epoch
        };
        let own = work.iter().find(is_own).ok_or_else(|| work::lease_lost(ending.object))?;
        let standing = Standing {
            done: own.get("done"),
            attempts: own.get("attempts"),
            has_moved: own.get::<_, i64>("wanted") != ending.wanted,
            full_looks: own.get("full_looks"),
        };
        let views = work.iter().map(|stored| view(stored, &row, ending, standing.has_moved)).collect();
        Ok(Self { row, standing, views })
    }
}

/// A controller's view; this one's with what it says now. A changed spec is a cause: while none came, the generation that
/// Begin returned is the present one.
fn view(stored: &tokio_postgres::Row, row: &Row, ending: &Ending, has_moved: bool) -> View {
    let mut view = View {
        controller: stored.get("controller"),
        observed_generation: stored.get("observed_generation"),
        ready: stored.get::<_, Option<Value>>("ready"),
    };
    if view.controller == ending.controller {
        if !has_moved {
            view.observed_generation = row.generation;
        }
        view.ready = ending.ready().or(view.ready);
    }
    view
}

/// Locks the deleting objects that may go with this Finish: attachments whose contribution it has pruned and, when all is
/// proved gone, the object itself, its owner and what it used. The attachments: one that is asked to go from now on adds
/// a cause to the work.
pub async fn lock_going(tx: &Transaction<'_>, row: &Row, is_cleaned: bool) -> Result<BTreeSet<Uuid>> {
    let select = tx
        .prepare_cached(
            "SELECT o.id, o.kind FROM objects o WHERE o.deleted_at IS NOT NULL AND o.id = ANY(ARRAY(
                 SELECT a.id FROM object_refs r JOIN objects a ON a.id = r.from_id
                     WHERE r.to_id = $1 AND a.kind = $4 AND a.deleted_at IS NOT NULL
                 UNION ALL SELECT r.to_id FROM object_refs r WHERE r.from_id = $1 AND $3
                 UNION ALL SELECT id FROM UNNEST(ARRAY[$1, $2]) id WHERE $3))
             ORDER BY o.id FOR UPDATE",
        )
        .await?;
    let rows = tx.query(&select, &[&row.id, &row.owner_id, &is_cleaned, &delete::ATTACHMENT]).await?;
    // What it uses is no attachment.
    let attachments = rows.iter().filter(|going| going.get::<_, &str>("kind") == delete::ATTACHMENT);
    Ok(attachments.map(|going| going.get("id")).filter(|id| *id != row.id).collect())
}
