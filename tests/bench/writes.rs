//! Durable writes a second through gRPC: each an `Apply` of one changed object, answered when it is on disk.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::latency::Latencies;
use crate::system::{Api, config_map, definition};

/// Definitions that each connection writes in turn.
const OBJECTS: usize = 10;

/// What was written.
pub struct Written {
    pub per_second: f64,
    pub latencies: Latencies,
}

/// Writes over so many connections, each waiting for its answer before it writes again.
pub async fn measure(api: &Api, connections: usize, time: Duration) -> Result<Written> {
    // Connected and known to the server before the clock starts.
    let mut writers = Vec::new();
    for number in 0..connections {
        let writer =
            Writer { api: Api::connect(&api.address, &api.token), name: format!("written-{connections}-{number}") };
        for object in 0..OBJECTS {
            writer.write(object, "0").await?;
        }
        writers.push(writer);
    }
    let began = Instant::now();
    let tasks = writers.into_iter().map(|writer| tokio::spawn(async move { writer.run(began + time).await }));
    let mut latencies = Latencies::default();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await??);
    }
    let per_second = crate::report::real(latencies.len() as u64) / began.elapsed().as_secs_f64();
    Ok(Written { per_second, latencies })
}

struct Writer {
    api: Api,
    name: String,
}

impl Writer {
    async fn run(self, end: Instant) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let began = Instant::now();
            self.write(number % OBJECTS, &number.to_string()).await?;
            latencies.add(began.elapsed());
        }
        let last = number % OBJECTS;
        let stored = self.api.get("workload-definition", &format!("{}-{last}", self.name)).await;
        let wanted = config_map("settings", "number", &number.to_string());
        ensure!(stored["spec"]["manifest"] == wanted, "the last write is not what is stored: {stored}");
        Ok(latencies)
    }

    async fn write(&self, object: usize, value: &str) -> Result<()> {
        let document = definition(&format!("{}-{object}", self.name), &config_map("settings", "number", value));
        let results = self.api.apply(&[document]).await.context("writing a definition")?;
        ensure!(results[0].outcome != "unchanged", "a write changed nothing");
        Ok(())
    }
}
