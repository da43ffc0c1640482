//! Random operations on the real store and on the model: the same answers, the same present, the same log.
//! `PROPTEST_RNG_SEED=7 PROPTEST_CASES=500 cargo test --workspace --test store any_operations` tries others.

mod player;
mod seen;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::model::{Content, Mode, Model, REPLICAS, SLOTS, VARIANTS};
use player::Player;

#[derive(Clone, Debug)]
enum Operation {
    Write(Mode, Vec<Content>),
    Delete(usize),
    /// Of an object by a replica.
    Begin(usize, usize),
    /// Of this replica's last Begin of this object, however long ago.
    Finish(usize, usize),
    /// The replica ends its lease, and goes on under another id.
    Leave(usize),
}

fn content() -> impl Strategy<Value = Content> {
    let revision = prop_oneof![8 => Just(None), 1 => (1_i64..5).prop_map(Some)];
    let pin = prop_oneof![1 => Just(None), 1 => (1_i64..4).prop_map(Some)];
    let parts = (0..SLOTS.len(), 0..VARIANTS, any::<bool>(), pin, revision);
    parts.prop_map(|(slot, variant, is_shared, pin, revision)| {
        Content { slot, variant, is_shared, pin, revision }.of(slot)
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let several = proptest::collection::btree_map(0..SLOTS.len(), content(), 2..5).prop_map(|contents| {
        let placed = contents.into_iter().map(|(slot, content)| content.of(slot));
        Operation::Write(Mode::Apply, placed.collect())
    });
    let one = |mode| content().prop_map(move |content| Operation::Write(mode, vec![content]));
    let turn = || (2..5_usize, 0..REPLICAS);
    prop_oneof![
        4 => several,
        6 => one(Mode::Apply),
        1 => one(Mode::Create),
        4 => one(Mode::Update),
        3 => (0..SLOTS.len()).prop_map(Operation::Delete),
        8 => turn().prop_map(|(slot, replica)| Operation::Begin(slot, replica)),
        8 => turn().prop_map(|(slot, replica)| Operation::Finish(slot, replica)),
        1 => (0..REPLICAS).prop_map(Operation::Leave),
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
    let operations = proptest::collection::vec(operation(), 1..80);
    let outcome = TestRunner::new(config)
        .run(&operations, |operations| runtime.block_on(play(&operations)).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The first operation of each case. Most of what is random is refused where there is nothing yet.
fn all() -> Operation {
    let content = |slot| Content { slot, variant: 0, is_shared: true, pin: None, revision: None };
    Operation::Write(Mode::Apply, (0..SLOTS.len()).map(content).collect())
}

async fn play(operations: &[Operation]) -> Result<(), String> {
    let (mut player, mut model) = (Player::new().await, Model::default());
    for (number, operation) in std::iter::once(&all()).chain(operations).enumerate() {
        let differs = |what: String| format!("operation {number}, {operation:?}: {what}");
        player.carry_out(operation, &mut model).await.map_err(differs)?;
        same(&player.present().await, &seen::present(&model)).map_err(differs)?;
        same(&player.pinned().await, &model.pinned()).map_err(differs)?;
    }
    same(&player.log().await, &model.log)
}

fn same<T: PartialEq + std::fmt::Debug>(real: &T, model: &T) -> Result<(), String> {
    if real == model { Ok(()) } else { Err(format!("the store has {real:?}, the model {model:?}")) }
}
