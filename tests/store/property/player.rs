//! Carries operations out on the real store, with two replicas of all controllers.

use std::collections::{BTreeMap, BTreeSet};

use api_server::error::Result as Stored;
use api_server::store::work::Caller;
use api_server::store::{Cause, WriteOptions};
use serde_json::json;
use threeport::v1;
use uuid::Uuid;

use super::seen::{PRESENT, Seen, seen, slot_of, spec_of};
use super::{Operation, same};
use crate::fixture::{Fixture, cause, object, project, runtime};
use crate::model::{Commit, Content, Faults, Mode, Model, REPLICAS, SLOTS, Turn};

pub struct Player {
    fixture: Fixture,
    sql: tokio_postgres::Client,
    /// Their ids at present.
    replicas: [String; REPLICAS],
    /// The last turn of each object and replica.
    turns: BTreeMap<(usize, usize), Begun>,
}

/// A turn, under which id it was begun, and what the store answered.
#[derive(Clone)]
struct Begun {
    turn: Turn,
    replica: String,
    item: v1::BeginItem,
    answer: v1::BeginResult,
}

impl Player {
    pub async fn new() -> Self {
        let fixture = Fixture::new().await;
        let mut local = runtime("local");
        local.meta.as_mut().unwrap().shared_with = vec!["*".into()];
        fixture.apply(&[project("shop"), local]).await.unwrap();
        let sql = fixture.sql().await;
        let mut player = Self { fixture, sql, replicas: Default::default(), turns: BTreeMap::new() };
        for replica in 0..REPLICAS {
            player.join(replica).await;
        }
        player
    }

    pub(super) async fn carry_out(&mut self, operation: &Operation, model: &mut Model) -> Result<(), String> {
        match operation {
            Operation::Write(mode, contents) => self.write(*mode, contents, model).await,
            Operation::Delete(slot) => {
                let real = self.fixture.store.delete(deletion(*slot), &cause()).await;
                agree(&real.map(|_| Vec::new()), &model.delete(*slot).map(|()| Vec::new()))
            }
            Operation::Begin(slot, replica) => self.begin(*slot, *replica, model).await,
            Operation::Finish(slot, replica) => self.finish(*slot, *replica, model).await,
            Operation::Leave(replica) => {
                self.renew(*replica, true).await;
                self.join(*replica).await;
                model.leave(*replica);
                Ok(())
            }
        }
    }

    async fn write(&self, mode: Mode, contents: &[Content], model: &mut Model) -> Result<(), String> {
        let objects = contents.iter().map(erased).collect::<Vec<_>>();
        let (store, options) = (&self.fixture.store, WriteOptions::default());
        let said = model.write(mode, contents);
        match mode {
            Mode::Apply => {
                let real = self.fixture.apply(&objects).await;
                let outcomes = |response: v1::ApplyResponse| response.results.into_iter().map(|result| result.outcome);
                agree(&real.map(|response| outcomes(response).collect()), &said)
            }
            Mode::Create => {
                let real = store.create(objects[0].clone(), options, &cause()).await;
                agree(&real.map(|_| vec!["created".to_owned()]), &said)
            }
            Mode::Update => {
                let real = store.update(objects[0].clone(), &["spec".to_owned()], options, &cause()).await;
                // Whether it changed anything, the present says.
                agree(&real.map(|_| Vec::new()), &said.map(|_| Vec::new()))
            }
        }
    }

    async fn begin(&mut self, slot: usize, replica: usize, model: &mut Model) -> Result<(), String> {
        let (kind, project, name) = SLOTS[slot];
        let stored = self.fixture.store.get(kind, project, name).await;
        let id = stored.map_or_else(|_| Uuid::nil().to_string(), |stored| stored.meta.unwrap().id);
        let controller = v1::ControllerReference { kind: kind.into(), name: kind.into() };
        let item = v1::BeginItem { controller: Some(controller), object_id: id };
        let request = v1::BeginRequest { replica: self.replicas[replica].clone(), items: vec![item.clone()] };
        let answer = self.fixture.store.begin(request, caller(&cause())).await.unwrap().results.remove(0);
        let (said, turn) = model.begin(slot, replica);
        same(&answer.outcome.as_str(), &said)?;
        if let Some(turn) = turn {
            same(&(answer.epoch, is_deleting(&answer)), &(turn.epoch, turn.is_deleting))?;
            let begun = Begun { turn, replica: self.replicas[replica].clone(), item, answer };
            self.turns.insert((slot, replica), begun);
        }
        Ok(())
    }

    async fn finish(&mut self, slot: usize, replica: usize, model: &mut Model) -> Result<(), String> {
        let Some(begun) = self.turns.get(&(slot, replica)).cloned() else { return Ok(()) };
        let item = crate::fixture::end(begun.item, &begun.answer);
        let request = v1::FinishRequest { replica: begun.replica, items: vec![item] };
        let finished = self.fixture.store.finish(request, caller(&cause())).await.unwrap().results.remove(0);
        same(&finished.accepted, &model.finish(begun.turn))
    }

    /// Registers a replica under a new id.
    async fn join(&mut self, replica: usize) {
        self.replicas[replica] = Uuid::now_v7().to_string();
        self.renew(replica, false).await;
        // A case may be slower than a lease.
        let forever = "UPDATE replicas SET expires_at = 'infinity' WHERE expires_at > now()";
        self.sql.execute(forever, &[]).await.unwrap();
    }

    async fn renew(&self, replica: usize, leave: bool) {
        let renewal = v1::RenewRequest { replica: self.replicas[replica].clone(), leave, ..Default::default() };
        self.fixture.store.renew(renewal, caller(&cause())).await.unwrap();
    }

    pub async fn present(&self) -> Vec<Seen> {
        let rows = self.sql.query(PRESENT, &[]).await.unwrap();
        let mut seen = rows.iter().map(seen).collect::<Vec<_>>();
        seen.sort_unstable();
        seen
    }

    /// The generations of definitions that are kept for their pins.
    pub async fn pinned(&self) -> BTreeSet<(usize, i64)> {
        let query = "SELECT o.kind, o.project, o.name, p.generation
                     FROM pinned_generations p JOIN objects o ON o.id = p.definition_id";
        let rows = self.sql.query(query, &[]).await.unwrap();
        rows.iter().map(|row| (slot_of(row), row.get("generation"))).collect()
    }

    /// Statuses are left out, and what was written before the first operation.
    pub async fn log(&self) -> Vec<Commit> {
        let query = "SELECT commit_id, kind, project, name, type, (meta ->> 'revision')::bigint AS revision,
                            (meta ->> 'generation')::bigint AS generation
                     FROM changes WHERE type <> 'status' AND kind IN ('workload-definition', 'workload-instance', 'attachment')
                     ORDER BY commit_id";
        let mut log = BTreeMap::<i64, Commit>::new();
        for row in self.sql.query(query, &[]).await.unwrap() {
            let kinds = ["created", "spec", "meta", "deleting", "removed"];
            let kind = kinds.into_iter().find(|kind| *kind == row.get::<_, &str>("type")).expect("there is no other");
            let change = (kind, slot_of(&row), row.get("revision"), row.get("generation"));
            log.entry(row.get("commit_id")).or_default().push(change);
        }
        let sorted = |mut commit: Commit| {
            commit.sort_unstable();
            commit
        };
        log.into_values().map(sorted).collect()
    }
}

/// The same answer, or one of the errors that there are.
fn agree(real: &Stored<Vec<String>>, said: &Result<Vec<&'static str>, Faults>) -> Result<(), String> {
    match (real, said) {
        (Ok(real), Ok(said)) if real == said => Ok(()),
        (Err(error), Err(said)) if said.contains(error.reason()) => Ok(()),
        _ => Err(format!("the store says {real:?}, the model {said:?}")),
    }
}

fn erased(content: &Content) -> v1::Object {
    let (kind, project, name) = SLOTS[content.slot];
    let mut spec = spec_of(content.slot, content.variant);
    if let Some(pin) = content.pin {
        spec["definition_generation"] = json!(pin.to_string());
    }
    let mut object = object(kind, project, name, spec);
    let meta = object.meta.as_mut().expect("it was made with one");
    meta.revision = content.revision.unwrap_or_default();
    meta.shared_with = if content.is_shared { vec!["shop".into()] } else { Vec::new() };
    object
}

fn deletion(slot: usize) -> v1::DeleteObjectRequest {
    let (kind, project, name) = SLOTS[slot];
    v1::DeleteObjectRequest { kind: kind.into(), project: project.into(), name: name.into(), ..Default::default() }
}

fn caller(cause: &Cause) -> Caller<'_> {
    Caller { cause, may_act_as: &|_, _| true }
}

fn is_deleting(begun: &v1::BeginResult) -> bool {
    let meta = begun.object.as_ref().and_then(|object| object.meta.as_ref());
    meta.is_some_and(|meta| meta.deleted_at.is_some())
}
