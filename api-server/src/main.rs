//! The API server's process.

use std::io::Write;

use anyhow::Context;
use api_server::config::Config;
use api_server::server::Server;
use clap::Parser;
use threeport::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a crypto provider is installed already"))?;
    let _telemetry =
        telemetry::init("threeport-api-server", config.log_format.into(), "info", config.otlp_endpoint.as_deref())?;
    let server = Server::bind(config, telemetry::metrics_recorder()?).await?;
    writeln!(std::io::stdout(), "listening on {}", server.address()?)?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("draining");
        signalled.cancel();
    });
    server.run(shutdown).await
}
