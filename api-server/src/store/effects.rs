//! What a write transaction causes beyond its rows: work to wake and changes to log. Settled last, in one place.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::Cause;
use super::row::Row;
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

/// Makes work due and appends to the log. Call last: the commit's id is drawn when every row lock is held.
pub async fn settle(_tx: &Transaction<'_>, _cause: &Cause, _effects: Effects) -> Result<()> {
    unimplemented!("the log and work helper writes this")
}
