//! What a write transaction causes beyond its rows: work to wake and changes to log. Settled last, in one place.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use threeport::registry::Registry;
use uuid::Uuid;

use super::log::{self, Owners};
use super::row::Row;
use super::{Cause, fan_out, work};
use crate::error::Result;

/// What kind of change a log entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    Created,
    Spec,
    /// Labels, annotations, sharing.
    Meta,
    Status,
    /// Deletion was asked for.
    Deleting,
    Removed,
}

impl ChangeType {
    /// As it is stored and watched.
    pub fn name(self) -> &'static str {
        match self {
            ChangeType::Created => "created",
            ChangeType::Spec => "spec",
            ChangeType::Meta => "meta",
            ChangeType::Status => "status",
            ChangeType::Deleting => "deleting",
            ChangeType::Removed => "removed",
        }
    }
}

/// One object's change; `before` is none for a creation.
#[derive(Clone, Debug)]
pub struct Change {
    pub change_type: ChangeType,
    pub before: Option<Row>,
    pub after: Row,
}

/// Gathered while a transaction writes rows.
#[derive(Debug, Default)]
pub struct Effects {
    pub changes: Vec<Change>,
    /// Objects whose own work is due: created, changed spec, deletion asked for, unblocked.
    pub wake: BTreeSet<Uuid>,
    /// Objects whose users' work is due: changed spec, flipped Ready, changed output.
    pub wake_users_of: BTreeSet<Uuid>,
    /// Owners of changed objects that are known already.
    pub owners: Owners,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.wake.is_empty() && self.wake_users_of.is_empty()
    }
}

/// Makes work due and appends to the log. Call last: the commit's id is drawn when every row lock is held.
pub async fn settle(tx: &Transaction<'_>, cause: &Cause, effects: Effects) -> Result<()> {
    let Effects { changes, mut wake, wake_users_of, owners } = effects;
    let created = changes.iter().filter(|change| change.change_type == ChangeType::Created);
    let created = created.map(|change| (change.after.id, change.after.kind.as_str())).collect::<Vec<_>>();
    if !created.is_empty() {
        work::insert(tx, &created, &reconciled_owners(&changes), &cause.traceparent).await?;
    }
    if !wake_users_of.is_empty() {
        wake.extend(fan_out::users_of(tx, &wake_users_of, &cause.traceparent).await?);
    }
    // What is new is due already.
    for (id, _) in &created {
        wake.remove(id);
    }
    let wake = wake.into_iter().collect::<Vec<_>>();
    let owners = log::owners_of(tx, &changes, &owners).await?;
    // Prepared before the first is sent, or the second could be first.
    let (waking, appending) = (work::prepare_wake(tx).await?, log::prepare(tx).await?);
    let woken = async { if wake.is_empty() { Ok(0) } else { waking.run(tx, &wake, &cause.traceparent).await } };
    let appended =
        async { if changes.is_empty() { Ok(()) } else { appending.run(tx, cause, &changes, &owners).await } };
    tokio::try_join!(woken, appended)?;
    Ok(())
}

/// The owners of created objects that are reconciled themselves.
fn reconciled_owners(changes: &[Change]) -> Vec<Uuid> {
    let created = changes.iter().filter(|change| change.change_type == ChangeType::Created);
    created.filter(|change| !Registry::is_data(&change.after.kind)).filter_map(|change| change.after.owner_id).collect()
}
