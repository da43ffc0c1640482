//! The phases of a run: what each measures, and what that is held against.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::app::{FIRST, Fleet, Mode, Size};
use crate::bench::Bench;
use crate::floor::Floor;
use crate::report::{Bar, Figure, Unit, real};
use crate::{change, crash, fleet, floor, reads, single, watchers, writes};

const CHANGES: usize = 200;
const SINGLES: usize = 20;
const LISTED: usize = 600;

/// What can be measured alone; what a phase needs in place is put there without being measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// One workload with nothing else going on.
    Single,
    /// Durable writes through gRPC.
    Writes,
    /// A thousand watchers.
    Watchers,
    /// N workloads in one namespace, created and deleted.
    Shared,
    /// One change with N workloads idle.
    Change,
    /// A list with status.
    List,
    /// Idle processes.
    Idle,
    /// One of four objects changed in all N.
    Rollout,
    /// N workloads in a namespace each, created and deleted.
    Separate,
    /// kill -9 of controllers.
    Crash,
    /// One change among many idle objects.
    Many,
}

/// The floors of the fleets, where they were measured.
pub struct Floors {
    pub shared: Option<Floor>,
    pub separate: Option<Floor>,
}

impl Phase {
    /// The order of a run: what is deployed by one is used by the next.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    pub async fn run(self, bench: &mut Bench, floors: &Floors) -> Result<()> {
        let shared = Fleet::new("shared", Mode::Shared, bench.apps);
        match self {
            Self::Single => single_workload(bench).await,
            Self::Writes => durable_writes(bench).await,
            Self::Watchers => many_watchers(bench).await,
            Self::Shared => create(bench, "shared", &shared, floors.shared.as_ref()).await,
            Self::Change => one_change(bench, &shared).await,
            Self::List => one_list(bench, &shared).await,
            Self::Idle => rest(bench, &shared).await,
            Self::Rollout => rollout(bench, &shared, floors.shared.as_ref()).await,
            Self::Separate => {
                let separate = Fleet::new("separate", Mode::Separate, bench.apps);
                create(bench, "separate", &separate, floors.separate.as_ref()).await?;
                delete(bench, "separate", &separate, floors.separate.as_ref()).await
            }
            Self::Crash => crashed(bench).await,
            Self::Many => among_many(bench).await,
        }
    }
}

impl Floors {
    /// Measures what the phases need.
    pub async fn measure(bench: &Bench, phases: &[Phase]) -> Result<Self> {
        let needs = |wanted: &[Phase]| phases.iter().any(|phase| wanted.contains(phase));
        let cluster = &bench.system.cluster;
        let shared = if needs(&[Phase::Shared, Phase::Rollout]) {
            Some(floor::measure(cluster, &Fleet::new("floor-shared", Mode::Shared, bench.apps)).await?)
        } else {
            None
        };
        let separate = if needs(&[Phase::Separate]) {
            Some(floor::measure(cluster, &Fleet::new("floor-separate", Mode::Separate, bench.apps)).await?)
        } else {
            None
        };
        Ok(Self { shared, separate })
    }
}

async fn create(bench: &mut Bench, phase: &'static str, fleet: &Fleet, floor: Option<&Floor>) -> Result<()> {
    let mark = bench.mark().await?;
    let took = fleet::submit(bench, fleet, FIRST).await?;
    let cost = bench.cost(phase, &mark).await?;
    bench.deployed.push(fleet.name);
    let name = format!("{} workloads applied", fleet.count);
    bench.report.add(Figure::seconds(phase, name, took.applied).floor(floor.map(|floor| floor.create)));
    bench.report.add(Figure::seconds(phase, "the same, settled and rolled up", took.settled));
    bench.by_workload(phase, &cost, Some((7.0, 10.0)));
    Ok(())
}

async fn delete(bench: &mut Bench, phase: &'static str, fleet: &Fleet, floor: Option<&Floor>) -> Result<()> {
    let mark = bench.mark().await?;
    let took = fleet::delete(bench, fleet).await?;
    let cost = bench.cost(if phase == "shared" { "shared, delete" } else { "separate, delete" }, &mark).await?;
    let name = format!("{} workloads deleted without a trace", fleet.count);
    bench.report.add(Figure::seconds(phase, name, took).floor(floor.map(|floor| floor.delete)));
    bench.by_workload(phase, &cost, None);
    Ok(())
}

async fn single_workload(bench: &mut Bench) -> Result<()> {
    for (name, fleet, place) in [
        ("single-shared", Mode::Shared, "a shared namespace"),
        ("single-separate", Mode::Separate, "a namespace of its own"),
    ] {
        let latencies = single::measure(bench, &Fleet::new(name, fleet, SINGLES)).await?;
        let name = format!("apply → applied in {place}, {SINGLES} times");
        let median = Figure::milliseconds("single", format!("{name}, p50"), latencies.median());
        bench.report.add(median.bar(Bar::AtMost(50.0)));
        bench.report.add(Figure::milliseconds("single", format!("{name}, longest"), latencies.longest()));
    }
    Ok(())
}

async fn durable_writes(bench: &mut Bench) -> Result<()> {
    let mark = bench.mark().await?;
    for connections in [1, 8, 32] {
        let written = writes::measure(&bench.system.api, connections, Duration::from_secs(5)).await?;
        let figure = Figure::new("writes", format!("{connections} connections"), written.per_second, Unit::PerSecond);
        let bar = if connections == 1 { Bar::None } else { Bar::AtLeast(2000.0) };
        bench.report.add(figure.bar(bar));
        bench.report.add_latencies("writes", &format!("{connections} connections"), &written.latencies, Bar::None);
    }
    bench.cost("writes", &mark).await.map(drop)
}

async fn many_watchers(bench: &mut Bench) -> Result<()> {
    let mark = bench.mark().await?;
    let watched = watchers::measure(&bench.system.api, 1000, 200, Duration::from_secs(10)).await?;
    bench.cost("watchers", &mark).await?;
    let rate = Figure::new("watchers", "changes a second, each to 1,000 watchers", watched.per_second, Unit::PerSecond);
    bench.report.add(rate.bar(Bar::AtLeast(198.0)));
    let behind = Figure::milliseconds("watchers", "the slowest behind the first to see it", watched.behind.longest());
    bench.report.add(behind.bar(Bar::AtMost(1000.0)));
    bench.report.add(Figure::milliseconds("watchers", "half of them never by more than", watched.behind.median()));
    Ok(())
}

async fn one_change(bench: &mut Bench, fleet: &Fleet) -> Result<()> {
    fleet::ensure(bench, fleet).await?;
    let changes = change::measure(&bench.system, fleet, CHANGES).await?;
    fleet::settled(bench, fleet).await?;
    let name = format!("commit → cluster, {} idle", fleet.count);
    bench.report.add_latencies("change", &name, &changes.from_commit, Bar::AtMost(100.0));
    let name = format!("request → cluster, {} idle", fleet.count);
    bench.report.add_latencies("change", &name, &changes.from_request, Bar::None);
    Ok(())
}

async fn one_list(bench: &mut Bench, fleet: &Fleet) -> Result<()> {
    fleet::ensure(bench, fleet).await?;
    let count = fleet.count.min(LISTED);
    let latencies = reads::list(bench, count, 50).await?;
    let bar = if count == LISTED { Bar::AtMost(20.0) } else { Bar::None };
    let median = Figure::milliseconds("list", format!("{count} instances with status, p50"), latencies.median());
    bench.report.add(median.bar(bar));
    let longest = Figure::milliseconds("list", "the longest of 50", latencies.longest());
    bench.report.add(longest);
    Ok(())
}

async fn rest(bench: &mut Bench, fleet: &Fleet) -> Result<()> {
    fleet::ensure(bench, fleet).await?;
    let cost = reads::idle(bench, Duration::from_secs(20)).await?;
    let cores = |cpu: Duration| cpu.as_secs_f64() / cost.took.as_secs_f64();
    let ours = Figure::new(
        "idle",
        format!("API server and controllers, {} idle", fleet.count),
        cores(cost.ours()),
        Unit::Cores,
    );
    bench.report.add(ours.bar(Bar::AtMost(0.05)));
    for name in ["postgres", "nats"] {
        let cpu = cost.usages.get(name).map(|usage| usage.cpu).unwrap_or_default();
        bench.report.add(Figure::new("idle", format!("{name} meanwhile"), cores(cpu), Unit::Cores));
    }
    for name in ["api-server", "controllers", "postgres", "nats"] {
        let memory = cost.usages.get(name).map_or(0, |usage| usage.memory >> 20);
        bench.report.add(Figure::new("idle", format!("{name}, resident"), real(memory), Unit::Megabytes));
    }
    let calls = Figure::new("idle", "cluster calls while idle", real(cost.calls), Unit::Count);
    bench.report.add(calls);
    Ok(())
}

/// Changes one object of all, then deletes them.
async fn rollout(bench: &mut Bench, fleet: &Fleet, floor: Option<&Floor>) -> Result<()> {
    fleet::ensure(bench, fleet).await?;
    let mark = bench.mark().await?;
    let took = fleet::submit(bench, fleet, "changed").await?;
    let cost = bench.cost("rollout", &mark).await?;
    let name = format!("one of four objects changed in {}", fleet.count);
    bench.report.add(Figure::seconds("rollout", name, took.applied).floor(floor.map(|floor| floor.change)));
    bench.by_workload("rollout", &cost, None);
    delete(bench, "shared", fleet, floor).await
}

async fn crashed(bench: &mut Bench) -> Result<()> {
    let crash = crash::measure(bench, &Fleet::new("crash", Mode::Shared, bench.apps.min(200))).await?;
    bench.report.add(Figure::new(
        "crash",
        "objects held by the killed replica",
        real(crash.held.unsigned_abs()),
        Unit::Count,
    ));
    let taken = Figure::seconds("crash", "kill -9 → all of them taken over", crash.taken_over);
    bench.report.add(taken.bar(Bar::AtMost(5.0)));
    Ok(())
}

/// A change among few objects, and the same beside many idle ones.
async fn among_many(bench: &mut Bench) -> Result<()> {
    let few = Fleet { name: "few", mode: Mode::Shared, size: Size::One, count: 10 };
    fleet::submit(bench, &few, FIRST).await?;
    let alone = change::measure(&bench.system, &few, CHANGES).await?.from_commit;
    // A workload, its definition and its instance each.
    let idle = Fleet { name: "idle", mode: Mode::Shared, size: Size::One, count: bench.idle_objects.div_ceil(3) };
    fleet::submit(bench, &idle, FIRST).await?;
    let beside = change::measure(&bench.system, &few, CHANGES).await?.from_commit;
    bench.report.add_latencies("many", "commit → cluster, 30 objects", &alone, Bar::None);
    let name = format!("commit → cluster, {} idle objects", idle.count * 3);
    bench.report.add_latencies("many", &name, &beside, Bar::None);
    let times = |percent| beside.percentile(percent).as_secs_f64() / alone.percentile(percent).as_secs_f64();
    let figure = Figure::new("many", "the second beside the first, p50", times(50), Unit::Ratio);
    bench.report.add(figure.bar(Bar::AtMost(2.0)));
    bench.report.add(Figure::new("many", "the second beside the first, p99", times(99), Unit::Ratio));
    Ok(())
}
