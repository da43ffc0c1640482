//! What a write transaction causes beyond its rows: work to wake and changes to log. Settled last, in one place.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::row::Row;
use super::{Cause, fan_out, log, work};
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
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.wake.is_empty() && self.wake_users_of.is_empty()
    }
}

/// Makes work due and appends to the log. Call last: the commit's id is drawn when every row lock is held.
pub async fn settle(tx: &Transaction<'_>, cause: &Cause, effects: Effects) -> Result<()> {
    let Effects { changes, mut wake, wake_users_of } = effects;
    let created = changes.iter().filter(|change| change.change_type == ChangeType::Created);
    let created = created.map(|change| (change.after.id, change.after.kind.as_str())).collect::<Vec<_>>();
    if !created.is_empty() {
        work::insert(tx, &created, &cause.traceparent).await?;
    }
    if !wake_users_of.is_empty() {
        wake.extend(fan_out::users_of(tx, &wake_users_of, &cause.traceparent).await?);
    }
    // What is new is due already.
    for (id, _) in &created {
        wake.remove(id);
    }
    if !wake.is_empty() {
        work::wake(tx, &wake.into_iter().collect::<Vec<_>>(), &cause.traceparent).await?;
    }
    if !changes.is_empty() {
        log::append(tx, cause, &changes).await?;
    }
    Ok(())
}
