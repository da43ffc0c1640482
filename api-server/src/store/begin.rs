//! Begin: takes leases of due objects and reads, in a batch, all that their reconciles need.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::v1::{BeginItem, BeginRequest, BeginResponse, BeginResult, NewEvent};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::next_look::back_off;
use super::reading::{Reading, read};
use super::replicas::{self, FULL_LOOKS};
use super::work::{self, Caller, parse_id};
use super::{Store, events_write, statement};
use crate::error::{Chain, Error, Result};

const BEGUN: &str = "begun";
/// At most this many leases are taken by one request.
const BATCH: usize = 100;

/// The object, the controller and its kind: a token for one kind's controller must not reach another kind's of that name.
type Key = (Uuid, String, String);

/// A lease that was taken.
pub struct Begun {
    epoch: i64,
    wanted: i64,
    attempts: i32,
    full_look: bool,
    traceparent: String,
}

/// What became of one item.
enum Taken {
    Begun(Begun),
    Busy,
    Idle,
    Gone,
}

impl Store {
    /// Takes the leases that are due and free, or held by a replica that has expired.
    pub async fn begin(&self, request: BeginRequest, caller: Caller<'_>) -> Result<BeginResponse> {
        if request.items.len() > BATCH {
            let count = request.items.len();
            return Err(Error::TooMuch(format!("{count} objects to begin; send at most {BATCH} at a time")));
        }
        let replica = parse_id("replica", &request.replica)?;
        let keys = request.items.iter().map(|item| key_of(item, caller)).collect::<Result<Vec<_>>>()?;
        let asked = Arc::new(keys);
        let (store, keys) = (self.clone(), asked.clone());
        let identity: Arc<str> = caller.cause.actor.as_str().into();
        let mut answers = self
            .write(move |tx| {
                let (store, asked, identity) = (store.clone(), asked.clone(), identity.clone());
                async move { store.take_and_read(tx, replica, &identity, &asked).await }.boxed()
            })
            .await?;
        // A key that is named twice is begun once.
        let results = keys.iter().map(|key| answers.remove(key).unwrap_or_else(|| refused("busy")));
        let results = results.collect::<Vec<_>>();
        let begun = results.iter().filter(|result| result.outcome == BEGUN).count();
        metrics::counter!("threeport_reconciles_begun_total").increment(begun as u64);
        Ok(BeginResponse { results })
    }

    async fn take_and_read(
        &self,
        tx: &Transaction<'_>,
        replica: Uuid,
        identity: &str,
        keys: &[Key],
    ) -> Result<BTreeMap<Key, BeginResult>> {
        let taken = take(tx, replica, identity, keys).await?;
        let begun = taken.iter().filter(|(_, taken)| matches!(taken, Taken::Begun(_)));
        let ids = begun.map(|((id, ..), _)| *id).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        let reading = if ids.is_empty() { Reading::default() } else { read(tx, &ids).await? };
        let mut answers = BTreeMap::new();
        for (key, taken) in taken {
            let answer = match taken {
                Taken::Busy => refused("busy"),
                Taken::Idle => refused("idle"),
                Taken::Gone => refused("gone"),
                Taken::Begun(begun) => match reading.result(self, key.0) {
                    Ok(read) => begun.answer(read),
                    Err(error) => {
                        set_aside(tx, &key, &begun, &reading, &error).await?;
                        refused("idle")
                    }
                },
            };
            answers.insert(key, answer);
        }
        Ok(answers)
    }
}

impl Begun {
    fn answer(self, read: BeginResult) -> BeginResult {
        BeginResult {
            outcome: BEGUN.into(),
            epoch: self.epoch,
            wanted: self.wanted,
            attempts: self.attempts,
            full_look: self.full_look,
            traceparent: self.traceparent,
            ..read
        }
    }
}

/// Gives back what can't be read, to be tried again like any failure: its key or its kind may come back, and the objects
/// beside it in the batch are not to blame.
async fn set_aside(tx: &Transaction<'_>, key: &Key, begun: &Begun, reading: &Reading, error: &Error) -> Result<()> {
    tracing::error!(object_id = %key.0, controller = key.1, cause = %Chain(error), "an object to reconcile can't be read");
    if let Some(row) = reading.row(key.0) {
        let note = "it, or something that it uses, can't be read; the API server's log says why".to_owned();
        let event = NewEvent { r#type: "Warning".into(), reason: "Unreadable".into(), note };
        events_write::report(tx, row, &[event], "api-server").await?;
    }
    work::put_off(tx, key.0, &key.1, back_off(begun.attempts, rand::random())).await
}

fn key_of(item: &BeginItem, caller: Caller<'_>) -> Result<Key> {
    caller.check(item.controller.as_ref())?;
    let controller = item.controller.clone().unwrap_or_default();
    Ok((parse_id("items.object_id", &item.object_id)?, controller.name, controller.kind))
}

fn refused(outcome: &str) -> BeginResult {
    BeginResult { outcome: outcome.into(), ..Default::default() }
}

const LOCK: &str = "SELECT w.object_id, w.controller, w.kind, w.holder,
         COALESCE(w.due_at <= clock_timestamp(), false) AS is_due,
         w.holder IS NOT NULL AND w.holder <> $3
             AND NOT EXISTS (SELECT FROM replicas r WHERE r.id = w.holder AND r.expires_at > clock_timestamp())
             AS is_abandoned
     FROM work w JOIN UNNEST($1::uuid[], $2::text[], $4::text[]) AS a (id, controller, kind)
          ON w.object_id = a.id AND w.controller = a.controller AND w.kind = a.kind
     ORDER BY w.object_id, w.controller FOR UPDATE OF w";

/// Users and children go first. A deleting attachment goes with what it is aimed at.
const BLOCKED: &str = "SELECT o.id FROM objects o WHERE o.id = ANY($1) AND o.deleted_at IS NOT NULL
       AND (EXISTS (SELECT FROM objects c WHERE c.owner_id = o.id)
         OR EXISTS (SELECT FROM object_refs r JOIN objects u ON u.id = r.from_id
                    WHERE r.to_id = o.id AND NOT (u.kind = 'attachment' AND u.deleted_at IS NOT NULL)))";

/// Locks the rows, decides on each and takes what may be taken. Fails unless the replica is alive.
async fn take(tx: &Transaction<'_>, replica: Uuid, identity: &str, keys: &[Key]) -> Result<BTreeMap<Key, Taken>> {
    let ids = keys.iter().map(|(id, ..)| *id).collect::<Vec<_>>();
    let controllers = keys.iter().map(|(_, controller, _)| controller.as_str()).collect::<Vec<_>>();
    let kinds = keys.iter().map(|(.., kind)| kind.as_str()).collect::<Vec<_>>();
    // On one round trip: the last sees what committed while the one before waited for locks.
    let asked: [&(dyn ToSql + Sync); 4] = [&ids, &controllers, &replica, &kinds];
    let found =
        statement::query_all(tx, &[(replicas::ALIVE, &[&replica, &identity]), (LOCK, &asked), (BLOCKED, &asked[..1])])
            .await?;
    let [alive, rows, blocked] = found.as_slice() else { return Err(Error::Corrupt("three queries".into())) };
    if alive.is_empty() {
        return Err(replicas::expired(replica));
    }
    let blocked = blocked.iter().map(|row| row.get::<_, Uuid>(0)).collect::<HashSet<_>>();
    let mut taken = keys.iter().map(|key| (key.clone(), Taken::Gone)).collect::<BTreeMap<_, _>>();
    let mut free = Lots::default();
    let mut waiting = Lots::default();
    for row in rows {
        let key: Key = (row.get("object_id"), row.get("controller"), row.get("kind"));
        let holder: Option<Uuid> = row.get("holder");
        let is_abandoned: bool = row.get("is_abandoned");
        let decided = if holder.is_some_and(|holder| holder != replica) && !is_abandoned {
            Taken::Busy
        } else if !is_abandoned && !row.get::<_, bool>("is_due") {
            Taken::Idle
        } else if blocked.contains(&key.0) {
            waiting.push(&key, is_abandoned);
            Taken::Idle
        } else {
            // Its own lease again: the answer to the Begin before was lost on the way.
            free.push(&key, is_abandoned || holder.is_some());
            continue;
        };
        taken.insert(key, decided);
    }
    park(tx, &waiting).await?;
    for (key, begun) in hold(tx, replica, &free).await? {
        taken.insert(key, Taken::Begun(begun));
    }
    Ok(taken)
}

/// Rows of work in columns.
#[derive(Default)]
struct Lots {
    ids: Vec<Uuid>,
    controllers: Vec<String>,
    /// Whether somebody may still act under an earlier epoch.
    contested: Vec<bool>,
}

impl Lots {
    fn push(&mut self, key: &Key, is_contested: bool) {
        self.ids.push(key.0);
        self.controllers.push(key.1.clone());
        self.contested.push(is_contested);
    }
}

/// Takes deleting objects with users or children off the queue; what removes the last of those wakes them.
async fn park(tx: &Transaction<'_>, waiting: &Lots) -> Result<()> {
    if waiting.ids.is_empty() {
        return Ok(());
    }
    let statement = tx
        .prepare_cached(
            "UPDATE work w
             SET due_at = NULL, holder = NULL, full_looks = CASE WHEN a.contested THEN $4 ELSE w.full_looks END
             FROM UNNEST($1::uuid[], $2::text[], $3::boolean[]) AS a (id, controller, contested)
             WHERE w.object_id = a.id AND w.controller = a.controller",
        )
        .await?;
    tx.execute(&statement, &[&waiting.ids, &waiting.controllers, &waiting.contested, &FULL_LOOKS]).await?;
    Ok(())
}

async fn hold(tx: &Transaction<'_>, replica: Uuid, free: &Lots) -> Result<Vec<(Key, Begun)>> {
    if free.ids.is_empty() {
        return Ok(Vec::new());
    }
    let statement = tx
        .prepare_cached(
            "UPDATE work w
             SET holder = $4, epoch = w.epoch + 1, full_looks = CASE WHEN a.contested THEN $5 ELSE w.full_looks END
             FROM UNNEST($1::uuid[], $2::text[], $3::boolean[]) AS a (id, controller, contested)
             WHERE w.object_id = a.id AND w.controller = a.controller
             RETURNING w.object_id, w.controller, w.kind, w.epoch, w.wanted, w.attempts, w.full_looks, w.traceparent",
        )
        .await?;
    let rows = tx.query(&statement, &[&free.ids, &free.controllers, &free.contested, &replica, &FULL_LOOKS]).await?;
    let begun = |row: &tokio_postgres::Row| {
        let begun = Begun {
            epoch: row.get("epoch"),
            wanted: row.get("wanted"),
            attempts: row.get("attempts"),
            full_look: row.get::<_, i16>("full_looks") > 0,
            traceparent: row.get("traceparent"),
        };
        ((row.get("object_id"), row.get("controller"), row.get("kind")), begun)
    };
    Ok(rows.iter().map(begun).collect())
}
