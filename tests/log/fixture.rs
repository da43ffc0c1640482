//! A store on an empty database, and objects written below its rules: what is tested here is the log and the queue alone.

use std::time::Duration;

use api_server::hints;
use api_server::store::background::Background;
use api_server::store::retention::Retention;
use api_server::store::work::Caller;
use api_server::store::{Cause, Change, ChangeType, Effects, Keyring, Row, Store, effects, row};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use threeport::v1::{
    BeginItem, BeginRequest, BeginResult, ControllerReference, FinishItem, FinishRequest, FinishResult, Lease,
    RenewRequest, WatchRequest, WatchResponse,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::postgres::{Database, database};

const KEYS: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Longer than anything here may take.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct World {
    pub store: Store,
    database: Database,
    cause: Cause,
}

/// A process of its own on the same database, until it is dropped.
pub struct Process {
    pub store: Store,
    task: JoinHandle<()>,
}

impl Drop for Process {
    /// As by kill -9: nothing is given back.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub async fn new() -> Self {
        let database = database().await;
        let store = Store::connect(&database.url, Keyring::parse(KEYS).unwrap()).unwrap();
        store.migrate().await.unwrap();
        store.seed().await.unwrap();
        let cause = Cause { actor: "test".into(), reason: String::new(), traceparent: "00-4bf9-00f0-01".into() };
        Self { store, database, cause }
    }

    /// Starts another process that stands for election.
    pub fn process(&self, hints: Option<hints::Sender>) -> Process {
        let store = Store::connect(&self.database.url, Keyring::parse(KEYS).unwrap()).unwrap();
        let background =
            Background { database: self.database.url.parse().unwrap(), hints, retention: Retention::default() };
        let runner = store.clone();
        let task = tokio::spawn(async move { runner.run_background(background, CancellationToken::new()).await });
        Process { store, task }
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.database.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Speaks for every controller.
    pub fn caller(&self) -> Caller<'_> {
        Caller { cause: &self.cause, may_act_as: &|_, _| true }
    }

    pub async fn create(&self, kind: &str, name: &str, uses: &[Uuid]) -> Uuid {
        create(&self.store, kind, name, None, uses).await
    }

    pub async fn replica(&self) -> Uuid {
        let replica = Uuid::new_v4();
        assert!(self.renew(replica).await);
        replica
    }

    /// Whether the replica is alive.
    pub async fn renew(&self, replica: Uuid) -> bool {
        let request = RenewRequest { replica: replica.to_string(), ..Default::default() };
        !self.store.renew(request, self.caller()).await.unwrap().lost
    }

    /// Begins one workload.
    pub async fn begin(&self, replica: Uuid, object: Uuid) -> BeginResult {
        let controller = Some(workload());
        let items = vec![BeginItem { controller, object_id: object.to_string() }];
        let request = BeginRequest { replica: replica.to_string(), items };
        self.store.begin(request, self.caller()).await.unwrap().results.remove(0)
    }

    /// Finishes one workload; `item` lacks its lease.
    pub async fn finish(&self, replica: Uuid, object: Uuid, begun: &BeginResult, item: FinishItem) -> FinishResult {
        let lease = Some(Lease { controller: Some(workload()), object_id: object.to_string(), epoch: begun.epoch });
        let item = FinishItem { lease, wanted: begun.wanted, ..item };
        let request = FinishRequest { replica: replica.to_string(), items: vec![item] };
        self.store.finish(request, self.caller()).await.unwrap().results.remove(0)
    }
}

pub fn workload() -> ControllerReference {
    ControllerReference { kind: "workload".into(), name: "workload".into() }
}

pub fn ended(outcome: &str) -> FinishItem {
    FinishItem { outcome: outcome.into(), ..Default::default() }
}

pub async fn create(store: &Store, kind: &str, name: &str, owner: Option<Uuid>, uses: &[Uuid]) -> Uuid {
    let (kind, name, uses) = (kind.to_owned(), name.to_owned(), uses.to_vec());
    let work = store.write(move |tx| {
        let (kind, name, uses) = (kind.clone(), name.clone(), uses.clone());
        async move {
            let id = Uuid::now_v7();
            let insert = format!(
                "INSERT INTO objects AS o (id, kind, project, name, owner_id) VALUES ($1, $2, 'default', $3, $4) RETURNING {}",
                row::COLUMNS
            );
            let after = Row::from(&tx.query_one(&insert, &[&id, &kind, &name, &owner]).await?);
            for target in &uses {
                tx.execute("INSERT INTO object_refs (from_id, to_id) VALUES ($1, $2)", &[&id, target]).await?;
            }
            let changes = vec![Change { change_type: ChangeType::Created, before: None, after }];
            effects::settle(tx, &Cause::default(), Effects { changes, ..Default::default() }).await?;
            Ok(id)
        }
        .boxed()
    });
    work.await.unwrap()
}

/// Changes the specs of objects in one commit, and wakes them and their users.
pub async fn edit(store: &Store, ids: &[Uuid], spec: Value) {
    change(store, ids, json!({}), spec).await;
}

/// As [`edit`], with other labels.
pub async fn change(store: &Store, ids: &[Uuid], labels: Value, spec: Value) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let work = store.write(move |tx| {
        let (ids, spec, labels) = (ids.clone(), spec.clone(), labels.clone());
        async move {
            let mut effects = Effects::default();
            for id in ids {
                let select = format!("SELECT {} FROM objects o WHERE o.id = $1 FOR UPDATE", row::COLUMNS);
                let before = Row::from(&tx.query_one(&select, &[&id]).await?);
                let update = format!(
                    "UPDATE objects o SET spec = $2, labels = $3, generation = generation + 1, revision = revision + 1
                     WHERE id = $1 RETURNING {}",
                    row::COLUMNS
                );
                let after = Row::from(&tx.query_one(&update, &[&id, &spec, &labels]).await?);
                effects.changes.push(Change { change_type: ChangeType::Spec, before: Some(before), after });
                effects.wake.insert(id);
                effects.wake_users_of.insert(id);
            }
            effects::settle(tx, &Cause::default(), effects).await
        }
        .boxed()
    });
    work.await.unwrap();
}

/// Follows the log from a position until `is_enough`; bookmarks are left out.
pub async fn follow(
    store: &Store,
    request: WatchRequest,
    mut is_enough: impl FnMut(&[WatchResponse]) -> bool,
) -> Vec<WatchResponse> {
    eventually("the position is there", || async { store.log_span().await.unwrap().last >= request.from_position })
        .await;
    let mut stream = Box::pin(store.watch(request).await.unwrap());
    let mut seen = Vec::new();
    while !is_enough(&seen) {
        let response = timeout(LIMIT, stream.next()).await.expect("the watch goes on").unwrap().unwrap();
        if !response.events.is_empty() {
            seen.push(response);
        }
    }
    seen
}

/// Asks again until it is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waited = timeout(LIMIT, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}
