//! kill -9 of controllers that hold leases: how long until others have taken over what they held.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::app::{FIRST, Fleet};
use crate::bench::Bench;
use crate::follower::{Follower, Wanted};
use crate::{fleet, floor};

/// Objects that the killed replica must hold for the figure to mean something.
const HELD: i64 = 8;
const LOOK: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_mins(2);

/// How the crash went.
pub struct Crash {
    pub held: i64,
    /// From the kill until nothing it held waits for anybody.
    pub taken_over: Duration,
}

/// Adds a process of controllers, submits the fleet, and kills that process amid its work.
pub async fn measure(bench: &mut Bench, fleet: &Fleet) -> Result<Crash> {
    let known = "SELECT COALESCE(string_agg(id::text, ','), '') FROM replicas WHERE expires_at > now()";
    let before = bench.system.database.text(known).await;
    bench.system.add_controllers().await;
    let victim = second_replica(bench, &before).await?;
    let follower = Follower::start(&bench.system.api).await?;
    let mut wanted = Wanted::new();
    for chunk in fleet.workloads(FIRST).chunks(100) {
        let results = bench.system.api.apply(chunk).await.context("submitting workloads")?;
        wanted.extend(fleet::generations(&results)?);
    }
    let holds = format!("SELECT count(*) FROM work WHERE holder = '{victim}'");
    until(bench, &holds, |count| count >= HELD).await.context("the second replica gets no work")?;
    let mut process = bench.system.controllers.pop().context("it was started above")?;
    process.kill();
    let began = Instant::now();
    let database = &bench.system.database;
    let note =
        format!("CREATE TABLE crash_held AS SELECT object_id, controller, epoch FROM work WHERE holder = '{victim}'");
    database.rows(&note).await;
    let held = database.number("SELECT count(*) FROM crash_held").await;
    ensure!(held > 0, "the killed replica held nothing");
    let waiting = "SELECT count(*) FROM work w JOIN crash_held h USING (object_id, controller)
                   WHERE w.epoch = h.epoch AND w.done <> w.wanted";
    until(bench, waiting, |count| count == 0).await.context("nobody takes over")?;
    let taken_over = began.elapsed();
    bench.system.database.rows("DROP TABLE crash_held").await;
    follower.applied(&wanted).await?;
    fleet::settled(bench, fleet).await?;
    floor::count(&bench.system.cluster, fleet, fleet.count).await?;
    fleet::delete(bench, fleet).await?;
    Ok(Crash { held, taken_over })
}

async fn second_replica(bench: &Bench, before: &str) -> Result<String> {
    let living = "SELECT id::text FROM replicas WHERE expires_at > now()";
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let rows = bench.system.database.rows(living).await;
        let found = rows.iter().map(|row| row.get::<_, String>(0)).find(|id| !before.contains(id));
        if let Some(found) = found {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the second process of controllers never registers")
}

async fn until(bench: &Bench, count: &str, holds: impl Fn(i64) -> bool) -> Result<()> {
    let began = Instant::now();
    loop {
        let found = bench.system.database.number(count).await;
        if holds(found) {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "still {found} after {LIMIT:?}: {count}");
        tokio::time::sleep(LOOK).await;
    }
}
