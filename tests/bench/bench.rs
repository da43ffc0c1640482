//! The system that is measured, and what all phases share.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use threeport::v1;

use crate::app::SHARED_NAMESPACE;
use crate::calls;
use crate::report::{Bar, Figure, Report, Unit, real};
use crate::system::servers::{self, Servers};
use crate::system::{Setup, System, json_of};
use crate::usage::{self, Process, Usages};

/// Our own processes, whose CPU time a workload costs.
const OURS: [&str; 2] = ["api-server", "controllers"];

pub struct Bench {
    /// How many applications `N` is.
    pub apps: usize,
    /// How many objects the change among idle ones has beside it.
    pub idle_objects: usize,
    pub report: Report,
    pub system: System,
    /// The fleets that are in place.
    pub deployed: Vec<&'static str>,
    processes: Vec<Process>,
    _servers: Servers,
}

/// What a phase begins with.
pub struct Mark {
    at: Instant,
    usages: Usages,
    calls: u64,
}

/// What a phase took.
pub struct Cost {
    pub took: Duration,
    pub usages: Usages,
    pub calls: u64,
}

impl Bench {
    /// Starts everything on servers of its own. Postgres runs as `tptctl up` runs it, with fsync on.
    pub async fn start(apps: usize, idle_objects: usize) -> Self {
        let servers = servers::start(&[]).await;
        let mut system = Setup::default().start_on(&servers).await;
        system.controllers[0].address().await;
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHARED_NAMESPACE } });
        system.cluster.create("/api/v1/namespaces", &namespace).await;
        let processes = processes(&servers, &system);
        let report = Report::default();
        Self { apps, idle_objects, report, system, deployed: Vec::new(), processes, _servers: servers }
    }

    pub async fn mark(&mut self) -> Result<Mark> {
        let calls = self.calls().await?;
        Ok(Mark { at: Instant::now(), usages: usage::look(&self.processes)?, calls })
    }

    /// Notes what was spent since the mark under the phase's name.
    pub async fn cost(&mut self, phase: &'static str, mark: &Mark) -> Result<Cost> {
        let took = mark.at.elapsed();
        let usages = usage::between(&mark.usages, &usage::look(&self.processes)?);
        self.report.spent(phase, usages.clone(), took);
        Ok(Cost { took, usages, calls: self.calls().await? - mark.calls })
    }

    async fn calls(&mut self) -> Result<u64> {
        calls::count(&self.system.controllers[0].address().await).await
    }

    /// The calls and the CPU time that each workload cost, held against these numbers of calls and milliseconds.
    pub fn by_workload(&mut self, phase: &'static str, cost: &Cost, bars: Option<(f64, f64)>) {
        let each = real(self.apps as u64);
        let milliseconds = cost.ours().as_secs_f64() * 1000.0 / each;
        let (calls, cpu) = bars.map_or((Bar::None, Bar::None), |(calls, cpu)| (Bar::AtMost(calls), Bar::AtMost(cpu)));
        let calls = Figure::new(phase, "cluster calls a workload", real(cost.calls) / each, Unit::Count).bar(calls);
        self.report.add(calls);
        let cpu = Figure::new(phase, "CPU a workload, ours", milliseconds, Unit::Milliseconds).bar(cpu);
        self.report.add(cpu);
    }

    /// All objects of a kind in the project `default` whose names begin with `prefix`, page by page.
    pub async fn list_all(&self, kind: &str, prefix: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut request = v1::ListObjectsRequest {
            kind: kind.into(),
            project: "default".into(),
            page_size: 1000,
            ..Default::default()
        };
        loop {
            let page = self.system.api.client.clone().list(request.clone()).await.context("listing")?.into_inner();
            let objects = page.items.into_iter().map(json_of);
            let is_meant = |object: &Value| object["meta"]["name"].as_str().unwrap_or_default().starts_with(prefix);
            found.extend(objects.filter(is_meant));
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            request.page_token = page.next_page_token;
        }
    }
}

impl Cost {
    /// The CPU time of API server and controllers together.
    pub fn ours(&self) -> Duration {
        OURS.iter().filter_map(|name| self.usages.get(*name)).map(|usage| usage.cpu).sum()
    }
}

fn processes(servers: &Servers, system: &System) -> Vec<Process> {
    let process = |name: &str, id: u32| Process { name: name.to_owned(), id, has_children: name == "postgres" };
    let mut processes = vec![
        process("api-server", system.api_servers[0].id()),
        process("controllers", system.controllers[0].id()),
        process("postgres", servers.postgres.process().id()),
        process("nats", system.broker.id()),
        process("driver", std::process::id()),
    ];
    processes.extend(servers.kubernetes.iter().map(|(name, id)| process(name, *id)));
    processes
}
