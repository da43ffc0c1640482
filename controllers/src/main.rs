//! Runs the built-in controllers until SIGTERM.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use controllers::clients::helm::{self, Helm};
use controllers::config::{Cli, Config, Part, read_token};
use controllers::helm_workload_instance::post_render;
use controllers::{drift, registry, status_port};
use threeport::telemetry;
use threeport_sdk::controller::{CancellationToken, Runner, RunnerConfig};
use threeport_sdk::{Client, Connection};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<ExitCode> {
    match Cli::parse() {
        Cli { part: Some(Part::HelmChild(child)), .. } => Ok(helm::run_child(&child)),
        Cli { part: Some(Part::HelmPostRender { settings }), .. } => {
            post_render::run(&settings).map(|()| ExitCode::SUCCESS)
        }
        Cli { config: Some(config), .. } => run(&config).map(|()| ExitCode::SUCCESS),
        Cli { .. } => bail!("`--token-file` is required"),
    }
}

#[tokio::main]
async fn run(config: &Config) -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS provider is already installed"))?;
    let filter = "info,async_nats=warn,tower=warn,hyper=warn,kube=warn";
    let _telemetry =
        telemetry::init("threeport-controllers", config.log_format.into(), filter, config.otlp_endpoint.as_deref())?;
    let metrics = telemetry::metrics_recorder()?;

    let token = read_token(&config.token_file)?;
    let client = Client::connect(&Connection { server: config.server.clone(), token })?;
    let limits =
        RunnerConfig { concurrency: config.concurrency, per_gate: per_gate(config.concurrency), ..Default::default() };
    let runner = Runner::new(client.clone(), config.nats_url.clone(), limits);
    let runner = registry::register(runner, &config.kinds, Helm::new(config.helm.clone()))?;
    helm::sweep();

    let shutdown = stop_on_signal()?;
    let (listener, address) = status_port::bind(config.listen).await?;
    announce(&format!("listening on {address}"))?;
    let status = status_port::serve(listener, runner.health(), move || metrics.render(), shutdown.child_token());
    let status = tokio::spawn(status);
    tracing::info!(server = config.server, %address, "controllers started");

    let waking = tokio::spawn(drift::wake_runtimes(client));
    let result = runner.run(shutdown.clone()).await.context("the controllers stopped");
    shutdown.cancel();
    waking.abort();
    status.await.context("the status port died")??;
    tracing::info!("controllers stopped");
    result
}

/// One cluster may hold at most half of the slots.
fn per_gate(concurrency: usize) -> usize {
    concurrency.div_ceil(2)
}

fn stop_on_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("can't receive SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't receive SIGINT")?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        stop.cancel();
    });
    Ok(shutdown)
}

/// For whoever started the process with port 0.
fn announce(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("can't write to stdout")
}
