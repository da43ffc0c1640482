//! Random operations on the real store and on the model: the same answers, the same present, the same log.
//! `PROPTEST_RNG_SEED=7 PROPTEST_CASES=500 cargo test --workspace --test store any_operations` tries others.

use api_server::store::WriteOptions;
use api_server::store::work::Caller;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use serde_json::{Value, json};
use threeport::v1;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::fixture::{Fixture, cause, manifest, object, project, runtime};
use crate::model::{Commit, Content, Mode, Model, SLOTS, Turn, VARIANTS, is_instance, target};

#[derive(Clone, Debug)]
enum Operation {
    Write(Mode, Vec<Content>),
    Delete(usize),
    Begin(usize),
    /// Of the last Begin of this object, however long ago.
    Finish(usize),
}

fn content() -> impl Strategy<Value = Content> {
    let revision = prop_oneof![3 => Just(None), 1 => (1_i64..5).prop_map(Some)];
    (0..SLOTS.len(), 0..VARIANTS, any::<bool>(), revision).prop_map(|(slot, variant, is_shared, revision)| Content {
        slot,
        variant,
        is_shared,
        revision,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let several = proptest::collection::btree_map(0..SLOTS.len(), content(), 1..5).prop_map(|contents| {
        let placed = contents.into_iter().map(|(slot, content)| Content { slot, ..content });
        Operation::Write(Mode::Apply, placed.collect())
    });
    let one = |mode| content().prop_map(move |content| Operation::Write(mode, vec![content]));
    let instance = 2..5_usize;
    prop_oneof![
        8 => several,
        2 => one(Mode::Create),
        3 => one(Mode::Update),
        4 => (0..SLOTS.len()).prop_map(Operation::Delete),
        4 => instance.clone().prop_map(Operation::Begin),
        4 => instance.prop_map(Operation::Finish),
    ]
}

#[test]
fn any_operations_have_the_same_answers_present_and_log_as_in_the_model() {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 24;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let operations = proptest::collection::vec(operation(), 1..60);
    let outcome = TestRunner::new(config)
        .run(&operations, |operations| runtime.block_on(play(&operations)).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The real store with one replica of all controllers.
struct Player {
    fixture: Fixture,
    sql: tokio_postgres::Client,
    replica: String,
    /// The last turn of each slot, and what the store answered with it.
    turns: [Option<(Turn, v1::BeginItem, v1::BeginResult)>; SLOTS.len()],
}

async fn play(operations: &[Operation]) -> Result<(), String> {
    let fixture = Fixture::new().await;
    let mut local = runtime("local");
    local.meta.as_mut().unwrap().shared_with = vec!["*".into()];
    fixture.apply(&[project("shop"), local]).await.unwrap();
    let sql = fixture.sql().await;
    let mut player = Player { fixture, sql, replica: Uuid::now_v7().to_string(), turns: Default::default() };
    player.renew().await;
    let mut model = Model::default();
    for (number, operation) in operations.iter().enumerate() {
        let differs = |what: String| format!("operation {number}, {operation:?}: {what}");
        player.carry_out(operation, &mut model).await.map_err(differs)?;
        same(&player.present().await, &present(&model)).map_err(differs)?;
    }
    same(&player.log().await, &model.log)
}

fn same<T: PartialEq + std::fmt::Debug>(real: &T, model: &T) -> Result<(), String> {
    if real == model { Ok(()) } else { Err(format!("the store has {real:?}, the model {model:?}")) }
}

impl Player {
    async fn carry_out(&mut self, operation: &Operation, model: &mut Model) -> Result<(), String> {
        match operation {
            Operation::Write(mode, contents) => self.write(*mode, contents, model).await,
            Operation::Delete(slot) => {
                let real = self.fixture.store.delete(deletion(*slot), &cause()).await;
                agree(&real.map(|_| Vec::new()), &model.delete(*slot).map(|()| Vec::new()))
            }
            Operation::Begin(slot) => self.begin(*slot, model).await,
            Operation::Finish(slot) => self.finish(*slot, model).await,
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

    async fn begin(&mut self, slot: usize, model: &mut Model) -> Result<(), String> {
        let (kind, project, name) = SLOTS[slot];
        let stored = self.fixture.store.get(kind, project, name).await;
        let id = stored.map_or_else(|_| Uuid::nil().to_string(), |stored| stored.meta.unwrap().id);
        let controller = v1::ControllerReference { kind: kind.into(), name: kind.into() };
        let item = v1::BeginItem { controller: Some(controller), object_id: id };
        let request = v1::BeginRequest { replica: self.replica.clone(), items: vec![item.clone()] };
        let begun = self.fixture.store.begin(request, caller(&cause())).await.unwrap().results.remove(0);
        let (said, turn) = model.begin(slot);
        same(&begun.outcome.as_str(), &said)?;
        if let Some(turn) = turn {
            same(&(begun.epoch, deleting(&begun)), &(turn.epoch, turn.is_deleting))?;
            self.turns[slot] = Some((turn, item, begun));
        }
        Ok(())
    }

    async fn finish(&mut self, slot: usize, model: &mut Model) -> Result<(), String> {
        let Some((turn, item, begun)) = self.turns[slot].clone() else { return Ok(()) };
        let item = crate::fixture::end(item, &begun);
        let request = v1::FinishRequest { replica: self.replica.clone(), items: vec![item] };
        let finished = self.fixture.store.finish(request, caller(&cause())).await.unwrap().results.remove(0);
        same(&finished.accepted, &model.finish(turn))
    }

    async fn renew(&self) {
        let renewal = v1::RenewRequest { replica: self.replica.clone(), ..Default::default() };
        self.fixture.store.renew(renewal, caller(&cause())).await.unwrap();
        // A case may be slower than a lease.
        let forever = "UPDATE replicas SET expires_at = 'infinity'";
        self.sql.execute(forever, &[]).await.unwrap();
    }

    async fn present(&self) -> Vec<Seen> {
        let query =
            "SELECT o.kind, o.project, o.name, o.revision, o.generation, o.deleted_at IS NOT NULL AS deleting, o.spec,
                            o.shared_with <> '{}' AS shared, coalesce(w.due_at <= clock_timestamp(), false) AS due
                     FROM objects o LEFT JOIN work w ON w.object_id = o.id
                     WHERE o.kind IN ('workload-definition', 'workload-instance', 'attachment')";
        let rows = self.sql.query(query, &[]).await.unwrap();
        let mut seen = rows.iter().map(seen).collect::<Vec<_>>();
        seen.sort_unstable();
        seen
    }

    /// Statuses are left out, and what was written before the first operation.
    async fn log(&self) -> Vec<Commit> {
        let query = "SELECT commit_id, kind, project, name, type, (meta ->> 'revision')::bigint AS revision,
                            (meta ->> 'generation')::bigint AS generation
                     FROM changes WHERE type <> 'status' AND kind IN ('workload-definition', 'workload-instance', 'attachment')
                     ORDER BY commit_id";
        let mut log: Vec<(i64, Commit)> = Vec::new();
        for row in self.sql.query(query, &[]).await.unwrap() {
            let kinds = ["created", "spec", "meta", "deleting", "removed"];
            let kind = kinds.into_iter().find(|kind| *kind == row.get::<_, &str>("type")).expect("there is no other");
            let change = (kind, slot_of(&row), row.get("revision"), row.get("generation"));
            match log.last_mut().filter(|(commit, _)| *commit == row.get::<_, i64>("commit_id")) {
                Some((_, commit)) => commit.push(change),
                None => log.push((row.get("commit_id"), vec![change])),
            }
        }
        log.into_iter()
            .map(|(_, mut commit)| {
                commit.sort_unstable();
                commit
            })
            .collect()
    }
}

/// Slot, variant, whether shared, revision, generation, whether deleting, whether due.
type Seen = (usize, usize, bool, i64, i64, bool, bool);

fn present(model: &Model) -> Vec<Seen> {
    let seen = model.objects.iter().map(|(slot, known)| {
        (*slot, known.variant, known.is_shared, known.revision, known.generation, known.is_deleting, known.is_due)
    });
    seen.collect()
}

fn seen(row: &Row) -> Seen {
    let (slot, spec) = (slot_of(row), row.get::<_, Value>("spec"));
    let says = |variant: &usize| {
        let wanted = spec_of(slot, *variant);
        wanted.as_object().expect("specs are objects").iter().all(|(field, value)| spec[field] == *value)
    };
    let variant = (0..VARIANTS).find(says).unwrap_or(VARIANTS);
    (slot, variant, row.get("shared"), row.get("revision"), row.get("generation"), row.get("deleting"), row.get("due"))
}

fn slot_of(row: &Row) -> usize {
    let place = (row.get("kind"), row.get("project"), row.get("name"));
    SLOTS.iter().position(|slot| *slot == place).expect("nothing else was written")
}

/// The same answer, or one of the errors that there are.
fn agree(
    real: &api_server::error::Result<Vec<String>>,
    said: &Result<Vec<&'static str>, crate::model::Faults>,
) -> Result<(), String> {
    match (real, said) {
        (Ok(real), Ok(said)) if real == said => Ok(()),
        (Err(error), Err(said)) if said.contains(error.reason()) => Ok(()),
        _ => Err(format!("the store says {real:?}, the model {said:?}")),
    }
}

fn erased(content: &Content) -> v1::Object {
    let (kind, project, name) = SLOTS[content.slot];
    let mut object = object(kind, project, name, spec_of(content.slot, content.variant));
    let meta = object.meta.as_mut().expect("it was made with one");
    meta.revision = content.revision.unwrap_or_default();
    meta.shared_with = if content.is_shared { vec!["shop".into()] } else { Vec::new() };
    object
}

fn spec_of(slot: usize, variant: usize) -> Value {
    let used = target(slot, variant).map(|used| SLOTS[used]);
    match used {
        None => json!({ "manifest": manifest(&format!("nginx:{variant}")) }),
        Some((_, project, name)) if is_instance(slot) => {
            let reference = if SLOTS[slot].1 == project { name.to_owned() } else { format!("{project}/{name}") };
            json!({ "definition": reference, "runtime": "default/local", "paused": variant >= 2 })
        }
        Some((_, _, name)) => {
            json!({ "workload_instance": name, "env": { SLOTS[slot].2.replace('-', "_"): format!("{variant}") } })
        }
    }
}

fn deletion(slot: usize) -> v1::DeleteObjectRequest {
    let (kind, project, name) = SLOTS[slot];
    v1::DeleteObjectRequest { kind: kind.into(), project: project.into(), name: name.into(), ..Default::default() }
}

fn caller(cause: &api_server::store::Cause) -> Caller<'_> {
    Caller { cause, may_act_as: &|_, _| true }
}

fn deleting(begun: &v1::BeginResult) -> bool {
    let meta = begun.object.as_ref().and_then(|object| object.meta.as_ref());
    meta.is_some_and(|meta| meta.deleted_at.is_some())
}
