//! Events as controllers report them: repeats are counted, each object keeps its newest.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use threeport::v1::NewEvent;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Row;
use crate::error::Result;

/// Events that one object keeps.
const KEPT: i64 = 100;
/// Longest reason and note; they are part of an index.
const MAX_REASON: usize = 100;
const MAX_NOTE: usize = 1000;

/// Counts or adds the events about an object and drops its oldest ones over the bound.
pub async fn report(tx: &Transaction<'_>, about: &Row, events: &[NewEvent], reported_by: &str) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    // One statement can't touch a row twice.
    let mut counted: BTreeMap<(&'static str, String, String), i32> = BTreeMap::new();
    for event in events {
        let event_type = if event.r#type == "Normal" { "Normal" } else { "Warning" };
        let key = (event_type, storable(&event.reason, MAX_REASON), storable(&event.note, MAX_NOTE));
        *counted.entry(key).or_default() += 1;
    }
    let mut ids = Vec::new();
    let (mut types, mut reasons, mut notes, mut counts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((event_type, reason, note), count) in counted {
        ids.push(Uuid::now_v7());
        types.push(event_type);
        reasons.push(reason);
        notes.push(note);
        counts.push(count);
    }
    let upsert = tx
        .prepare_cached(
            "INSERT INTO events AS e (id, object_id, kind, project, name, type, reason, note, count, reported_by)
             SELECT n.id, $1, $2, $3, $4, n.type, n.reason, n.note, n.count, $5
             FROM UNNEST($6::uuid[], $7::text[], $8::text[], $9::text[], $10::integer[]) AS n (id, type, reason, note, count)
             ON CONFLICT (object_id, reported_by, type, reason, note) DO UPDATE
             SET count = e.count + excluded.count, last_seen_at = now()",
        )
        .await?;
    let bound = tx
        .prepare_cached(
            "DELETE FROM events WHERE object_id = $1 AND id IN (
                 SELECT id FROM events WHERE object_id = $1 ORDER BY last_seen_at DESC, id DESC OFFSET $2)",
        )
        .await?;
    let about: [&(dyn ToSql + Sync); 10] =
        [&about.id, &about.kind, &about.project, &about.name, &reported_by, &ids, &types, &reasons, &notes, &counts];
    tokio::try_join!(async { tx.execute(&upsert, &about).await }, async {
        tx.execute(&bound, &[about[0], &KEPT]).await
    })?;
    Ok(())
}

/// The text without NUL, which Postgres can't store, cut to at most `max` bytes.
fn storable(text: &str, max: usize) -> String {
    let mut text = text.replace('\0', "");
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_characters() {
        let cut = storable(&"ü".repeat(1000), MAX_NOTE);
        assert!(cut.len() <= MAX_NOTE && cut.ends_with('…'));
        assert_eq!(storable("a\0b", MAX_NOTE), "ab");
    }
}
