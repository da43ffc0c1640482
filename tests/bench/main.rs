//! The benchmark: what this control plane costs, beside the floor of the same machine and what it is held against.
//!
//! Servers, sandbox and control plane are started for the run and end with it. A phase that breaks ends the run with an
//! error: what isn't proved is no figure.

mod app;
mod bench;
mod calls;
mod change;
mod crash;
mod fleet;
mod floor;
mod follower;
mod latency;
mod phases;
mod reads;
mod report;
mod single;
#[path = "../system/mod.rs"]
mod system;
mod usage;
mod watchers;
mod writes;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use bench::Bench;
use phases::{Floors, Phase};

/// Measures what a control plane on this machine costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many workloads of four objects.
    #[arg(long, default_value_t = 200, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    apps: usize,
    /// How many idle objects a change has beside it in the phase `many`.
    #[arg(long, default_value_t = 10_000)]
    idle_objects: usize,
    /// Writes the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures these alone, in the order of a whole run.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Phase>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = |phase: &&Phase| arguments.only.is_empty() || arguments.only.contains(phase);
    let phases = Phase::all().iter().filter(wanted).copied().collect::<Vec<_>>();
    let mut bench = Bench::start(arguments.apps, arguments.idle_objects).await;
    say("measuring the floor");
    let floors = Floors::measure(&bench, &phases).await?;
    for phase in phases {
        say(&format!("measuring {phase:?}"));
        phase.run(&mut bench, &floors).await.with_context(|| format!("the phase {phase:?} is broken"))?;
    }
    write!(std::io::stdout(), "{}", bench.report.table()).context("printing the table")?;
    if let Some(path) = arguments.json {
        let mut figures = bench.report.json();
        figures["apps"] = bench.apps.into();
        figures["cores"] = std::thread::available_parallelism()?.get().into();
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Progress stands beside the figures, not among them.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
