//! Fault runs: clients write while processes, connections and clusters fail; then the faults stop, and all that was
//! promised is checked. `cargo run --release --example faults -- --seed 1 --runs 10`; a seed repeats a run.

mod book;
mod checks;
mod client;
mod cluster_link;
mod database_link;
mod equality;
mod ground;
mod kubernetes;
mod operation;
mod random;
mod run;
mod scenario;
mod schedule;
mod server;
#[path = "../system/mod.rs"]
mod system;
mod watcher;
mod world;

use std::cell::Cell;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use futures::FutureExt;

use crate::ground::Ground;
use crate::run::Run;
use crate::world::World;

/// Runs a control plane of its own through faults, and checks that it keeps its promises.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The first run's seed; each further run has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// How many runs, one after the other, a control plane goes through before the next one is started.
    #[arg(long, default_value_t = 10)]
    age: u64,
    /// Which faults: mix, or one family of them.
    #[arg(long, default_value = "mix", value_parser = known)]
    scenario: String,
    /// How much each client writes.
    #[arg(long, default_value_t = 15)]
    operations: usize,
}

fn known(name: &str) -> Result<String, String> {
    scenario::families(name).map(|_| name.to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    rustls::crypto::ring::default_provider().install_default().expect("nobody was before us");
    system::binary("tptctl");
    let ground = Arc::new(Ground::start().await);
    let end = options.seed + options.runs;
    let mut first = options.seed;
    while first < end {
        let seeds = first..end.min(first + options.age.max(1));
        first = seeds.end;
        let folder = cli::local::directories::scratch().expect("temporary folders can be made");
        let current = Cell::new(seeds.start);
        // A check that fails panics.
        let life = AssertUnwindSafe(live(&options, &ground, folder.path(), seeds.clone(), &current));
        if life.catch_unwind().await.is_err() {
            ground.keep_logs(folder.path());
            say(&failure(&options, seeds.start, current.get(), &folder.keep()));
            return ExitCode::FAILURE;
        }
    }
    say(&format!("{} runs of {} without a finding", options.runs, options.scenario));
    ExitCode::SUCCESS
}

/// The life of one control plane: run after run, each ends with all as it was before.
async fn live(options: &Options, ground: &Arc<Ground>, folder: &Path, seeds: Range<u64>, current: &Cell<u64>) {
    let world = Arc::new(World::start(ground.clone(), folder).await);
    for seed in seeds {
        current.set(seed);
        let families = scenario::families(&options.scenario).expect("it was checked");
        let times = Run { seed, families, operations: options.operations }.carry_out(&world).await;
        say(&format!("seed {seed} ok: {times}"));
    }
}

fn failure(options: &Options, first: u64, seed: u64, logs: &Path) -> String {
    let Options { scenario, operations, .. } = options;
    let replay = |first: u64| {
        let runs = seed + 1 - first;
        format!(
            "cargo run --release --example faults -- --seed {first} --runs {runs} --age {runs} --scenario {scenario} \
             --operations {operations}"
        )
    };
    let mut lines =
        vec![format!("seed {seed} FAILED; its logs are in {}", logs.display()), format!("replay: {}", replay(seed))];
    lines.extend((first < seed).then(|| format!("with the runs before it: {}", replay(first))));
    lines.join("\n")
}

#[expect(clippy::print_stdout, reason = "what was found is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}
