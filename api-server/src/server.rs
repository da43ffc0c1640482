//! Puts the pieces together and listens: gRPC and REST on one port.

mod accept;
mod health;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::get;
use futures::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::auth::Tokens;
use crate::config::Config;
use crate::error::Chain;
use crate::hints;
use crate::limits::Limits;
use crate::observe;
use crate::rest;
use crate::services::Services;
use crate::store::background::Background;
use crate::store::retention::Retention;
use crate::store::{Keyring, Store};

/// How long requests at work may take to end after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the token files are looked at.
const TOKENS: Duration = Duration::from_secs(2);

/// An API server that listens but doesn't answer yet.
pub struct Server {
    config: Config,
    listener: TcpListener,
    store: Store,
    tokens: Arc<ArcSwap<Tokens>>,
    metrics: PrometheusHandle,
}

impl Server {
    /// Reads keys and tokens, brings the database up to date and takes the port.
    ///
    /// # Errors
    /// When any of these fails.
    pub async fn bind(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let tokens = read_tokens(&config)?;
        let path = &config.encryption_key_file;
        let keys = std::fs::read_to_string(path)
            .with_context(|| format!("can't read the encryption key file `{}`", path.display()))?;
        let store = Store::connect(&config.database_url, Keyring::parse(&keys)?)?;
        store.migrate().await.context("can't migrate the database")?;
        store.seed().await.context("can't seed the database")?;
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("can't listen on {}", config.listen))?;
        Ok(Self { config, listener, store, tokens: Arc::new(ArcSwap::from_pointee(tokens)), metrics })
    }

    /// The address that was bound: says which port 0 became.
    ///
    /// # Errors
    /// When the operating system doesn't tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown`, then lets what is at work end.
    ///
    /// # Errors
    /// When the URLs of database or broker can't be used at all.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { config, listener, store, tokens, metrics } = self;
        let (reporter, _) = tonic_health::server::health_reporter();
        let limits = Limits::new(config.rate_limit, shutdown.clone());
        let services =
            Services::new(store.clone(), tokens.clone(), limits, reporter.clone()).map_err(anyhow::Error::msg)?;
        // What serves requests until they are drained is stopped after them.
        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        start_background(&config, &store, &stop, &background)?;
        background.spawn(follow_tokens(config.clone(), tokens, stop.clone()));
        let health = health::Health::connect(store, &config.nats_url, metrics, shutdown.clone()).await?;
        background.spawn(health.clone().upkeep(stop.clone()));

        let serving = accept::serve(listener, router(services, health), &shutdown, DRAIN);
        let leaving = async {
            shutdown.cancelled().await;
            reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        };
        tokio::join!(serving, leaving);
        stop.cancel();
        background.close();
        if tokio::time::timeout(DRAIN, background.wait()).await.is_err() {
            tracing::warn!("background tasks did not end in time");
        }
        Ok(())
    }
}

/// Starts what works beside requests.
fn start_background(
    config: &Config,
    store: &Store,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let database = config.database_url.parse().context("invalid database URL")?;
    let (sender, publisher) = hints::queue(&config.nats_url);
    let stopping = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = publisher.run(stopping).await {
            tracing::error!(cause = %Chain(&error), "no hints are published; controllers sweep instead");
        }
    });
    let background = Background { database, hints: Some(sender), retention: Retention::default() };
    let (working, stopping) = (store.clone(), stop.clone());
    tasks.spawn(async move { working.run_background(background, stopping).await });
    let (following, stopping) = (store.clone(), stop.clone());
    tasks.spawn(async move { following.follow_kinds(stopping).await });
    Ok(())
}

fn read_tokens(config: &Config) -> anyhow::Result<Tokens> {
    Tokens::read(&config.user_token_file, &config.controller_token_file, config.tokens_file.as_deref())
}

/// Reads the token files again and again, so that a token can be added or revoked without a restart.
async fn follow_tokens(config: Config, tokens: Arc<ArcSwap<Tokens>>, stop: CancellationToken) {
    let mut is_broken = false;
    while tokio::time::timeout(TOKENS, stop.cancelled()).await.is_err() {
        let read = read_tokens(&config);
        if let (Err(error), false) = (&read, is_broken) {
            tracing::warn!(cause = format!("{error:#}"), "tokens can't be read again; keeping those in force");
        }
        is_broken = read.is_err();
        if let Ok(read) = read {
            tokens.store(Arc::new(read));
        }
    }
}

fn router(services: Services, health: health::Health) -> Router {
    let described = services.clone();
    Router::new()
        .route("/openapi.json", get(move |headers: HeaderMap| async move { rest::openapi(&described, &headers) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .with_state(health)
        .fallback(move |request: Request<axum::body::Body>| answer(services.clone(), request.map(Body::new)))
}

/// gRPC by its content type, REST else.
async fn answer(services: Services, request: Request<Body>) -> Response<Body> {
    if !is_grpc(request.headers()) {
        return rest::handle(&services, request).await;
    }
    let path = request.uri().path();
    // Names that callers make up would fill the metrics.
    let method = if services.catalog().is_method(path) { path.to_owned() } else { "unknown".to_owned() };
    let headers = request.headers().clone();
    let answer = services.call(request).map(|response| (observe::code_of(&response), response));
    observe::request(&method, "grpc", &headers, answer).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
