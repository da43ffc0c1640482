//! What says how the server is: `/readyz`, `/metrics`.

use std::time::Duration;

use anyhow::Context;
use async_nats::connection::State as Broker;
use axum::extract::State;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Chain;
use crate::store::Store;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the broker is pinged, so that a dead connection is noticed.
const PING: Duration = Duration::from_secs(2);
/// How often histograms are emptied into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// What readiness looks at.
#[derive(Clone)]
pub struct Health {
    store: Store,
    broker: async_nats::Client,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
}

impl Health {
    /// Connects to the broker in the background.
    ///
    /// # Errors
    /// When the URL can't be used at all.
    pub async fn connect(
        store: Store,
        nats_url: &str,
        metrics: PrometheusHandle,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect().ping_interval(PING);
        let broker = options.connect(nats_url).await.context("invalid broker URL")?;
        Ok(Self { store, broker, metrics, shutdown })
    }

    /// Keeps the memory of metrics bounded.
    pub async fn upkeep(self, stop: CancellationToken) {
        while tokio::time::timeout(UPKEEP, stop.cancelled()).await.is_err() {
            self.metrics.run_upkeep();
        }
    }

    /// What is amiss, one line each.
    async fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.shutdown.is_cancelled() {
            complaints.push("shutting down".to_owned());
        }
        match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(cause = %Chain(&error), "the database is not ready");
                complaints.push("database: no answer".to_owned());
            }
            Err(_) => complaints.push(format!("database: no answer within {} s", PATIENCE.as_secs())),
        }
        if self.broker.connection_state() != Broker::Connected {
            complaints.push("broker: not connected; controllers find work by asking".to_owned());
        }
        complaints
    }
}

/// 200 when everything that requests and hints need is there; 503 with what is amiss.
pub async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match health.complaints().await.as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        complaints => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", complaints.join("\n"))),
    }
}

/// Prometheus text.
pub async fn metrics(State(health): State<Health>) -> String {
    health.metrics.render()
}
