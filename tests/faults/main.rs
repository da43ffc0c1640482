//! Fault runs: clients write while processes, connections and clusters fail; then the faults stop, and all that was
//! promised is checked. `cargo run --release --example faults -- --seed 1 --runs 10`; a seed repeats a run.

mod book;
mod checks;
mod client;
mod cluster_link;
mod database_link;
mod equality;
mod ground;
mod operation;
mod random;
mod run;
mod scenario;
mod schedule;
#[path = "../system/mod.rs"]
mod system;
mod watcher;
mod world;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use futures::FutureExt;

use crate::ground::Ground;
use crate::run::Run;

/// Runs a control plane of its own through faults, and checks that it keeps its promises.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// The first run's seed; each further run has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Which faults: mix, or one family of them.
    #[arg(long, default_value = "mix", value_parser = known)]
    scenario: String,
    /// How much each client writes.
    #[arg(long, default_value_t = 25)]
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
    for seed in options.seed..options.seed + options.runs {
        let started = Instant::now();
        let folder = cli::local::directories::scratch().expect("temporary folders can be made");
        let run = Run {
            seed,
            families: scenario::families(&options.scenario).expect("it was checked"),
            operations: options.operations,
            folder: folder.path().to_owned(),
        };
        // A check that fails panics.
        let Ok(rest) = AssertUnwindSafe(run.carry_out(ground.clone())).catch_unwind().await else {
            let Options { scenario, operations, .. } = &options;
            say(&format!(
                "seed {seed} FAILED; its logs are in {}\nreplay: cargo run --release --example faults -- --seed {seed} \
                 --runs 1 --scenario {scenario} --operations {operations}",
                folder.keep().display()
            ));
            return ExitCode::FAILURE;
        };
        let (whole, rest) = (started.elapsed().as_secs_f64(), rest.as_secs_f64());
        say(&format!("seed {seed} ok in {whole:.1} s, at rest {rest:.1} s after the last fault"));
    }
    say(&format!("{} runs of {} without a finding", options.runs, options.scenario));
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "what was found is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}
