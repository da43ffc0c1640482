//! `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use threeport_sdk::controller::{CancellationToken, Health};
use tokio::net::TcpListener;

/// Binds the port; the address is the one asked for, or with a port that was free.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    let bound = listener.local_addr().context("the listener has no address")?;
    Ok((listener, bound))
}

/// Serves until told to stop. `render` gives the metrics as text.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    render: impl Fn() -> String + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<()> {
    let ready = move || {
        let health = health.clone();
        async move { readiness(health.is_leased(), health.has_hints()) }
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { render() }));
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("the status port failed")
}

/// The broker only makes things faster: without it the process still works.
fn readiness(is_leased: bool, has_hints: bool) -> (StatusCode, &'static str) {
    match (is_leased, has_hints) {
        (true, true) => (StatusCode::OK, "ok"),
        (true, false) => (StatusCode::OK, "ok, without hints: work starts within a second"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "the API server doesn't answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_once_the_server_knows_it() {
        assert_eq!(readiness(true, false).0, StatusCode::OK);
        assert_eq!(readiness(false, true).0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
