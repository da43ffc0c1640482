//! What a Finish locks, in the order of all writers: objects first, then work.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use serde_json::Value;
use threeport::v1::ObjectReference;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::ending::Ending;
use super::next_look::Standing;
use super::row::{self, COLUMNS, Row};
use super::status::View;
use super::{delete, fan_out, work};
use crate::error::Result;

/// The controllers' work on the object, and what stands of it.
const WORK: &str =
    "SELECT object_id, controller, wanted, done, attempts, holder, epoch, full_looks, observed_generation, ready
     FROM work WHERE object_id = ANY($1) ORDER BY object_id, controller";

/// Deleting objects that may go with a Finish: attachments whose contribution it has pruned and, when all is proved gone,
/// the object itself, its owner and what it used. The attachments: one that is asked to go from now on adds a cause to the
/// work.
const GOING: &str = "SELECT o.id, o.kind FROM objects o WHERE o.deleted_at IS NOT NULL AND o.id = ANY(ARRAY(
         SELECT a.id FROM object_refs r JOIN objects a ON a.id = r.from_id
             WHERE r.to_id = $1 AND a.kind = $3 AND a.deleted_at IS NOT NULL
         UNION ALL SELECT r.to_id FROM object_refs r WHERE r.from_id = $1 AND $2
         UNION ALL SELECT owner_id FROM objects WHERE id = $1 AND $2
         UNION ALL SELECT $1 WHERE $2))
     ORDER BY o.id FOR UPDATE";

/// An object and its work under a lease that stands.
pub struct Held {
    pub row: Row,
    pub owner: Option<ObjectReference>,
    /// Some of its users, one more than are woken at once if there are so many.
    pub users: Vec<Uuid>,
    /// The attachments among what may go with this Finish.
    pub going: BTreeSet<Uuid>,
    pub standing: Standing,
    /// All controllers' views, this one's as it will be. Only who has locked the object changes them.
    pub views: Vec<View>,
}

impl Held {
    /// Locks the object against users to come and with what may go with it, and looks at its work, which others may still wake
    /// or take over.
    pub async fn look(tx: &Transaction<'_>, replica: Uuid, ending: &Ending) -> Result<Self> {
        let object = tx
            .prepare_cached(&format!(
                "SELECT {COLUMNS}, p.kind AS owner_kind, p.project AS owner_project, p.name AS owner_name
                 FROM objects o LEFT JOIN objects p ON p.id = o.owner_id WHERE o.id = $1 FOR UPDATE OF o"
            ))
            .await?;
        let (going, users) = (tx.prepare_cached(GOING).await?, tx.prepare_cached(fan_out::USERS).await?);
        let work = tx.prepare_cached(WORK).await?;
        let (id, ids) = (&ending.object, &vec![ending.object]);
        let may_go = ending.cleaned_up || ending.is_pruned();
        let go = async {
            let asked: [&(dyn ToSql + Sync); 3] = [id, &ending.cleaned_up, &delete::ATTACHMENT];
            if may_go { tx.query(&going, &asked).await } else { Ok(Vec::new()) }
        };
        // On one round trip: each sees what committed while the one before waited.
        let (object, going, users, work) = tokio::try_join!(
            async { tx.query_opt(&object, &[id]).await },
            go,
            async { tx.query(&users, &[ids, &fan_out::MOST]).await },
            async { tx.query(&work, &[ids]).await },
        )?;
        let row = object.as_ref().map(Row::from).filter(|row| row.kind == ending.kind);
        let row = row.ok_or_else(|| work::lease_lost(ending.object))?;
        let owner = object.as_ref().and_then(|stored| row::owner(&row, stored));
        // What it uses is no attachment.
        let attachments = going.iter().filter(|going| going.get::<_, &str>("kind") == delete::ATTACHMENT);
        let going = attachments.map(|going| going.get("id")).filter(|id| *id != row.id).collect();
        let users = users.iter().map(|user| user.get("from_id")).collect();
        let (standing, views) = stand(&row, &work, replica, ending)?;
        Ok(Self { row, owner, users, going, standing, views })
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
        let (standing, views) = stand(&self.row, &work, replica, ending)?;
        Ok(Self { standing, views, ..self })
    }

    /// Takes what this controller says of Ready now.
    pub fn hear(&mut self, ending: &Ending) {
        for view in self.views.iter_mut().filter(|view| view.controller == ending.controller) {
            view.ready = ending.ready().or_else(|| view.ready.take());
        }
    }
}

/// How the work stands; fails unless the lease is this replica's.
fn stand(row: &Row, work: &[tokio_postgres::Row], replica: Uuid, ending: &Ending) -> Result<(Standing, Vec<View>)> {
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
    let views = work.iter().map(|stored| view(stored, row, ending, standing.has_moved)).collect();
    Ok((standing, views))
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
