//! Finish: ends reconciles, each in one transaction of its own. A stale epoch is refused and stores nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use threeport::v1::{FinishRequest, FinishResponse, FinishResult, Object};
use uuid::Uuid;

use super::ending::Ending;
use super::held::Held;
use super::next_look::{NextLook, Outcome, next_look};
use super::row::{COLUMNS, Row};
use super::status::{self, Meaning, Statement};
use super::work::{Caller, LEASE_LOST, parse_id};
use super::{Cause, Change, ChangeType, Effects, Store, delete, effects, events_write, fan_out, is_retryable};
use crate::error::{Error, Result};

/// At most this many reconciles are ended by one request.
const BATCH: usize = 100;
/// Transactions of one request at the same time.
const CONCURRENCY: usize = 4;

/// Why the children of a Finish were not stored, none of them.
struct Refusal {
    message: String,
    /// To the object's reader; what passes by itself isn't.
    is_told: bool,
}

impl Store {
    /// Stores status, events, children, inventory and the next look of each.
    pub async fn finish(&self, request: FinishRequest, caller: Caller<'_>) -> Result<FinishResponse> {
        if request.items.len() > BATCH {
            let count = request.items.len();
            return Err(Error::TooMuch(format!("{count} reconciles to finish; send at most {BATCH} at a time")));
        }
        let replica = parse_id("replica", &request.replica)?;
        let registry = self.registry();
        let mut endings = Vec::with_capacity(request.items.len());
        for item in request.items {
            caller.check(item.lease.as_ref().and_then(|lease| lease.controller.as_ref()))?;
            endings.push(Arc::new(Ending::parse(item, &registry)?));
        }
        let results = stream::iter(endings)
            .map(|ending| self.finish_one(replica, ending, caller.cause.clone()))
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(FinishResponse { results })
    }

    async fn finish_one(&self, replica: Uuid, ending: Arc<Ending>, cause: Cause) -> Result<FinishResult> {
        let outcome = ending.outcome_name();
        let (store, cause) = (self.clone(), Arc::new(cause));
        let stored = self
            .write(move |tx| {
                let (store, ending, cause) = (store.clone(), ending.clone(), cause.clone());
                async move { store.end(tx, replica, &ending, &cause).await }.boxed()
            })
            .await;
        let result = match stored {
            Err(error) if error.reason() == LEASE_LOST => FinishResult::default(),
            stored => stored?,
        };
        let outcome = if result.accepted { outcome } else { "stale" };
        metrics::counter!("threeport_reconciles_finished_total", "outcome" => outcome).increment(1);
        Ok(result)
    }

    async fn end(&self, tx: &Transaction<'_>, replica: Uuid, ending: &Ending, cause: &Cause) -> Result<FinishResult> {
        let mut seen = Held::look(tx, replica, ending).await?;
        let is_cleaned = ending.cleaned_up && seen.row.is_deleting();
        let mut effects = Effects::default();
        let refusal = if is_cleaned { None } else { self.store_children(tx, &seen.row, ending, &mut effects).await? };
        let ending = &*match &refusal {
            Some(refusal) if refusal.is_told => Cow::Owned(ending.with_refused_children(&refusal.message)),
            _ => Cow::Borrowed(ending),
        };
        seen.hear(ending);
        self.wake_concerned(tx, &seen, ending, cause, &mut effects).await?;
        let mut concerned = effects.wake.clone();
        // The owner may go with what it owned.
        concerned.extend(seen.row.owner_id.filter(|_| is_cleaned));
        let held = seen.lock(tx, replica, ending, &concerned).await?;
        let reporter = format!("controller:{}", ending.controller);
        let events = events_write::report(tx, &held.row, &ending.events, &reporter);
        // All rows are locked, and none of what follows is another's business: it shares a round trip.
        if is_cleaned && !held.standing.has_moved {
            tokio::try_join!(events, ending.inventory.store(tx, held.row.id), remove_work(tx, ending))?;
            delete::collect(tx, BTreeSet::from([held.row.id]), &mut effects).await?;
        } else {
            let outcome = if refusal.is_some() { Outcome::Retry } else { ending.outcome };
            let next = next_look(outcome, ending.wanted, held.standing, rand::random());
            tokio::try_join!(
                events,
                ending.inventory.store(tx, held.row.id),
                self.store_status(tx, &held, ending, &mut effects),
                store_work(tx, &held, ending, next),
            )?;
            if !held.standing.has_moved {
                delete::collect(tx, held.going, &mut effects).await?;
            }
        }
        effects.owners.extend(held.row.owner_id.zip(held.owner));
        effects::settle(tx, cause, effects).await?;
        let child_error = refusal.map(|refusal| refusal.message).unwrap_or_default();
        Ok(FinishResult { accepted: true, child_error })
    }

    /// Names all that is to be woken before any work is locked: their rows are then locked in one order.
    async fn wake_concerned(
        &self,
        tx: &Transaction<'_>,
        seen: &Held,
        ending: &Ending,
        cause: &Cause,
        effects: &mut Effects,
    ) -> Result<()> {
        let (_, meaning) = self.merge(seen, ending);
        effects.wake.extend(seen.row.owner_id.filter(|_| meaning.concerns_owner));
        if meaning.concerns_users {
            let users = fan_out::now_or_later(tx, seen.row.id, seen.users.clone(), &cause.traceparent).await?;
            effects.wake.extend(users);
        }
        let targets = std::mem::take(&mut effects.wake_users_of);
        if !targets.is_empty() {
            effects.wake.extend(fan_out::users_of(tx, &targets, &cause.traceparent).await?);
        }
        Ok(())
    }

    /// Writes the complete set of children; what can't be stored is told, and the rest of the Finish stands.
    async fn store_children(
        &self,
        tx: &Transaction<'_>,
        owner: &Row,
        ending: &Ending,
        effects: &mut Effects,
    ) -> Result<Option<Refusal>> {
        let Some(objects) = &ending.children else { return Ok(None) };
        if let Some(refusal) = self.refuse_children(owner, ending, objects) {
            return Ok(Some(refusal));
        }
        if owner.is_deleting() {
            // What it owned was marked with it.
            return Ok(None);
        }
        let mut caused = Effects::default();
        tx.batch_execute("SAVEPOINT children").await?;
        match self.write_children(tx, owner, &ending.controller, objects.clone(), &mut caused).await {
            Ok(()) => {
                tx.batch_execute("RELEASE SAVEPOINT children").await?;
                effects.changes.append(&mut caused.changes);
                effects.wake.append(&mut caused.wake);
                effects.wake_users_of.append(&mut caused.wake_users_of);
                Ok(None)
            }
            Err(error) if is_retryable(&error) || matches!(error, Error::Database(_) | Error::Corrupt(_)) => Err(error),
            Err(error) => {
                tx.batch_execute("ROLLBACK TO SAVEPOINT children").await?;
                // Who is on its way out makes room by itself.
                let is_told = !matches!(error, Error::BeingDeleted { .. });
                Ok(Some(Refusal { message: error.to_string(), is_told }))
            }
        }
    }

    /// Why children are not even tried, if so.
    fn refuse_children(&self, owner: &Row, ending: &Ending, objects: &[Object]) -> Option<Refusal> {
        if owner.is_deleting() && !objects.is_empty() {
            let message = format!("{} `{}` is being deleted and can't own new objects", owner.kind, owner.full_name());
            return Some(Refusal { message, is_told: false });
        }
        let registry = self.registry();
        let controllers = registry.get(&owner.kind).map(|kind| kind.controllers.as_slice()).unwrap_or_default();
        let owns = controllers.iter().find(|controller| controller.name == ending.controller).map(|found| &found.owns);
        let foreign = objects.iter().find(|object| !owns.is_some_and(|owns| owns.contains(&object.kind)))?;
        let message =
            format!("controller `{}` may not own {}; list that kind in what it owns", ending.controller, foreign.kind);
        Some(Refusal { message, is_told: true })
    }

    async fn store_status(
        &self,
        tx: &Transaction<'_>,
        held: &Held,
        ending: &Ending,
        effects: &mut Effects,
    ) -> Result<()> {
        let (merged, meaning) = self.merge(held, ending);
        if !meaning.is_changed {
            return Ok(());
        }
        let update = tx
            .prepare_cached(&format!(
                "UPDATE objects o SET status = $2, status_revision = status_revision + 1 WHERE id = $1 RETURNING {COLUMNS}"
            ))
            .await?;
        let after = Row::from(&tx.query_one(&update, &[&held.row.id, &merged]).await?);
        effects.changes.push(Change { change_type: ChangeType::Status, before: Some(held.row.clone()), after });
        Ok(())
    }

    /// The status as it will be, and what that means to others.
    fn merge(&self, held: &Held, ending: &Ending) -> (Value, Meaning) {
        let statement = Statement {
            fields: ending.fields.as_ref(),
            conditions: &ending.conditions,
            views: &held.views,
            at: SystemTime::now(),
        };
        let merged = status::merge(&held.row.status, &statement);
        let registry = self.registry();
        let meaning = status::meaning(registry.get(&held.row.kind).map(AsRef::as_ref), &held.row.status, &merged);
        (merged, meaning)
    }
}

async fn remove_work(tx: &Transaction<'_>, ending: &Ending) -> Result<()> {
    let delete = tx.prepare_cached("DELETE FROM work WHERE object_id = $1 AND controller = $2").await?;
    tx.execute(&delete, &[&ending.object, &ending.controller]).await?;
    Ok(())
}

async fn store_work(tx: &Transaction<'_>, held: &Held, ending: &Ending, next: NextLook) -> Result<()> {
    let own = held.views.iter().find(|view| view.controller == ending.controller);
    let (observed, ready) = own.map_or((0, None), |view| (view.observed_generation, view.ready.clone()));
    // What its cause has led to is over; a later look belongs to no request.
    let ends_trace = next.due_in.is_none();
    let update = tx
        .prepare_cached(
            "UPDATE work SET holder = NULL, done = $3, due_at = clock_timestamp() + $4 * interval '1 second', attempts = $5,
                 gave_up = $6, full_looks = $7, observed_generation = $8, ready = $9,
                 traceparent = CASE WHEN $10 THEN '' ELSE traceparent END
             WHERE object_id = $1 AND controller = $2",
        )
        .await?;
    let due_in = next.due_in.map(|due_in| due_in.as_secs_f64());
    tx.execute(
        &update,
        &[
            &held.row.id,
            &ending.controller,
            &next.done,
            &due_in,
            &next.attempts,
            &next.gave_up,
            &next.full_looks,
            &observed,
            &ready,
            &ends_trace,
        ],
    )
    .await?;
    Ok(())
}
