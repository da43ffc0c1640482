//! The queue: rows of `work`, one for each object and controller. Making them due, waking and sweeping.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::object::Object as _;
use threeport::v1::{
    self, BeginItem, ControllerReference, SweepRequest, SweepResponse, WakeItem, WakeRequest, WakeResponse,
};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::{Cause, Store};
use crate::error::{Error, Result};

/// At most this many objects are woken or swept by one request.
const BATCH: usize = 1000;

/// When a new owner is looked at of whose children nobody has said anything.
const OWNERS_LOOK: Duration = Duration::from_secs(10);

/// Why a word from a replica no longer counts.
pub const LEASE_LOST: &str = "LeaseLost";

pub fn lease_lost(object: Uuid) -> Error {
    let message = format!("the lease on `{object}` is held by another; stop and forget this reconcile");
    Error::Precondition { reason: LEASE_LOST, message }
}

/// A controller's process: who it is, and what its token lets it speak for.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub cause: &'a Cause,
    /// Whether it may act as the controller of this kind and name.
    pub may_act_as: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
}

impl Caller<'_> {
    /// Refuses to speak for a controller that the token doesn't name.
    pub fn check(&self, controller: Option<&ControllerReference>) -> Result<()> {
        let Some(ControllerReference { kind, name }) = controller else {
            return Err(Error::invalid("controller", "must name the kind and the controller"));
        };
        if (self.may_act_as)(kind, name) {
            return Ok(());
        }
        Err(Error::Denied(format!("this token is not for controller `{name}` of kind `{kind}`; use that controller's")))
    }

    /// Refuses all but who runs workloads on clusters.
    pub fn check_workloads(&self) -> Result<()> {
        let workload_instance = v1::WorkloadInstance::KIND;
        self.check(Some(&ControllerReference { kind: workload_instance.into(), name: workload_instance.into() }))
    }
}

/// A UUID out of a request.
pub fn parse_id(field: &str, text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| Error::invalid(field, format!("`{text}` is not a UUID")))
}

/// Adds the rows of new objects, one for each controller of their kind. Those of `owners` have nothing to say before what
/// they own has: its first word wakes them, and if none comes they are looked at after a while.
pub async fn insert(tx: &Transaction<'_>, created: &[(Uuid, &str)], owners: &[Uuid], traceparent: &str) -> Result<()> {
    let (ids, kinds): (Vec<Uuid>, Vec<&str>) = created.iter().copied().unzip();
    let statement = tx
        .prepare_cached(
            "INSERT INTO work (object_id, controller, kind, due_at, traceparent)
             SELECT n.id, c.name, c.kind,
                 now() + CASE WHEN n.id = ANY($4) THEN $5::float8 ELSE 0 END * interval '1 second', $3
             FROM UNNEST($1::uuid[], $2::text[]) AS n (id, kind) JOIN controllers c ON c.kind = n.kind
             ORDER BY n.id, c.name
             ON CONFLICT DO NOTHING",
        )
        .await?;
    tx.execute(&statement, &[&ids, &kinds, &traceparent, &owners, &OWNERS_LOOK.as_secs_f64()]).await?;
    Ok(())
}

/// The statement that wakes, prepared.
pub struct Waking(Statement);

/// Prepares to wake.
pub async fn prepare_wake(tx: &Transaction<'_>) -> Result<Waking> {
    let sql = "WITH locked AS (
             SELECT object_id, controller FROM work WHERE object_id = ANY($1)
             ORDER BY object_id, controller FOR UPDATE)
         UPDATE work w
         SET wanted = w.wanted + 1, due_at = now(), attempts = 0, gave_up = false, traceparent = $2
         FROM locked l WHERE w.object_id = l.object_id AND w.controller = l.controller";
    Ok(Waking(tx.prepare_cached(sql).await?))
}

impl Waking {
    /// Adds a cause to each object's work and makes it due; rows are locked in order.
    pub async fn run(&self, tx: &Transaction<'_>, ids: &[Uuid], traceparent: &str) -> Result<u64> {
        Ok(tx.execute(&self.0, &[&ids, &traceparent]).await?)
    }
}

/// Adds a cause to each object's work and makes it due.
pub async fn wake(tx: &Transaction<'_>, ids: &[Uuid], traceparent: &str) -> Result<u64> {
    prepare_wake(tx).await?.run(tx, ids, traceparent).await
}

/// Gives a lease back after a failure that was no reconciler's.
pub async fn put_off(tx: &Transaction<'_>, id: Uuid, controller: &str, delay: Duration) -> Result<()> {
    let statement = tx
        .prepare_cached(
            "UPDATE work SET holder = NULL, attempts = attempts + 1, due_at = clock_timestamp() + $3 * interval '1 second'
             WHERE object_id = $1 AND controller = $2",
        )
        .await?;
    tx.execute(&statement, &[&id, &controller, &delay.as_secs_f64()]).await?;
    Ok(())
}

impl Store {
    /// Makes objects due because the world changed. Drift leaves alone what is paused or has given up.
    pub async fn wake(&self, request: WakeRequest, caller: Caller<'_>) -> Result<WakeResponse> {
        let asked = Arc::new(Asked::of_wake(&request.items, caller)?);
        let woken = self
            .write(move |tx| {
                let asked = asked.clone();
                async move { wake_asked(tx, &asked).await }.boxed()
            })
            .await?;
        Ok(WakeResponse { woken: i32::try_from(woken).unwrap_or(i32::MAX) })
    }

    /// Lists what is due and held by nobody, longest first.
    pub async fn sweep(&self, request: SweepRequest, caller: Caller<'_>) -> Result<SweepResponse> {
        for controller in &request.controllers {
            caller.check(Some(controller))?;
        }
        let kinds = request.controllers.iter().map(|controller| controller.kind.as_str()).collect::<Vec<_>>();
        let names = request.controllers.iter().map(|controller| controller.name.as_str()).collect::<Vec<_>>();
        let limit = if request.limit <= 0 { 100 } else { i64::from(request.limit).min(1000) };
        let connection = self.pool.get().await?;
        let statement = connection
            .prepare_cached(
                "SELECT object_id, kind, controller FROM work
                 WHERE holder IS NULL AND due_at <= now()
                   AND (kind, controller) IN (SELECT * FROM UNNEST($1::text[], $2::text[]))
                 ORDER BY due_at LIMIT $3",
            )
            .await?;
        let rows = connection.query(&statement, &[&kinds, &names, &limit]).await?;
        let item = |row: &tokio_postgres::Row| BeginItem {
            controller: Some(ControllerReference { kind: row.get(1), name: row.get(2) }),
            object_id: row.get::<_, Uuid>(0).to_string(),
        };
        Ok(SweepResponse { items: rows.iter().map(item).collect() })
    }
}

/// Work rows by key, in columns.
struct Asked {
    ids: Vec<Uuid>,
    controllers: Vec<String>,
    kinds: Vec<String>,
    drift: Vec<bool>,
    traceparent: String,
}

impl Asked {
    fn of_wake(items: &[WakeItem], caller: Caller<'_>) -> Result<Self> {
        if items.len() > BATCH {
            return Err(Error::TooMuch(format!("{} objects to wake; send at most {BATCH} at a time", items.len())));
        }
        let mut asked = Asked {
            ids: Vec::new(),
            controllers: Vec::new(),
            kinds: Vec::new(),
            drift: Vec::new(),
            traceparent: caller.cause.traceparent.clone(),
        };
        for item in items {
            caller.check(item.controller.as_ref())?;
            asked.ids.push(parse_id("items.object_id", &item.object_id)?);
            let controller = item.controller.clone().unwrap_or_default();
            asked.controllers.push(controller.name);
            asked.kinds.push(controller.kind);
            asked.drift.push(item.drift);
        }
        Ok(asked)
    }
}

async fn wake_asked(tx: &Transaction<'_>, asked: &Asked) -> Result<u64> {
    let statement = tx
        .prepare_cached(
            "WITH asked AS (
                 SELECT id, controller, kind, bool_and(drift) AS drift
                 FROM UNNEST($1::uuid[], $2::text[], $3::boolean[], $5::text[]) AS a (id, controller, drift, kind)
                 GROUP BY id, controller, kind),
             locked AS (
                 SELECT w.object_id, w.controller FROM work w
                 JOIN asked a ON a.id = w.object_id AND a.controller = w.controller AND a.kind = w.kind
                 JOIN objects o ON o.id = w.object_id
                 WHERE NOT (a.drift AND (w.gave_up OR COALESCE(o.spec -> 'paused' = 'true'::jsonb, false)))
                 ORDER BY w.object_id, w.controller FOR UPDATE OF w)
             UPDATE work w
             SET wanted = w.wanted + 1, due_at = now(), attempts = 0, gave_up = false, traceparent = $4
             FROM locked l WHERE w.object_id = l.object_id AND w.controller = l.controller",
        )
        .await?;
    Ok(tx
        .execute(&statement, &[&asked.ids, &asked.controllers, &asked.drift, &asked.traceparent, &asked.kinds])
        .await?)
}
