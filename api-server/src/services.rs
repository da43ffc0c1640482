//! gRPC services: thin edges over the store.
//!
//! Every call, of gRPC and REST alike, goes through [`Services::admit`] and [`Services::call_as`]: authorization, limits, then the service.

mod catalog;
mod codec;
mod control;
mod kind;
mod object;
mod wait;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Extensions, HeaderMap, Request, Response};
use threeport::telemetry::current_traceparent;
use threeport::v1::control_service_server::{ControlServiceServer, SERVICE_NAME as CONTROL};
use threeport::v1::object_service_server::{ObjectServiceServer, SERVICE_NAME as OBJECTS};
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::{HealthServer, SERVICE_NAME as HEALTH};
use tonic_health::server::{HealthReporter, HealthService};
use tower::ServiceExt;

pub use catalog::Catalog;
pub use codec::DynamicCodec;

use crate::auth::{self, Caller, Tokens};
use crate::limits::Limits;
use crate::store::{Cause, Store};

/// All services, and what stands before them.
#[derive(Clone)]
pub struct Services {
    store: Store,
    tokens: Arc<ArcSwap<Tokens>>,
    limits: Limits,
    catalog: Arc<ArcSwap<Catalog>>,
    objects: ObjectServiceServer<object::Objects>,
    control: ControlServiceServer<control::Control>,
    health: HealthServer<HealthService>,
}

impl Services {
    /// # Errors
    /// When the kinds in force can't be served: a template that collides with another.
    pub fn new(
        store: Store,
        tokens: Arc<ArcSwap<Tokens>>,
        limits: Limits,
        health: HealthReporter,
    ) -> Result<Self, String> {
        let catalog = Catalog::of(store.registry())?;
        // Bodies are bounded by `limits`, whose message says what to do.
        let objects = ObjectServiceServer::new(object::Objects::new(store.clone()))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let control = ControlServiceServer::new(control::Control::new(store.clone()))
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let health = HealthServer::new(HealthService::from_health_reporter(health));
        let catalog = Arc::new(ArcSwap::from_pointee(catalog));
        Ok(Self { store, tokens, limits, catalog, objects, control, health })
    }

    /// What is served by the kinds in force; made anew when they change.
    pub fn catalog(&self) -> Arc<Catalog> {
        let current = self.catalog.load_full();
        let registry = self.store.registry();
        if current.is_of(&registry) {
            return current;
        }
        match Catalog::of(registry) {
            Ok(catalog) => {
                let catalog = Arc::new(catalog);
                self.catalog.store(catalog.clone());
                catalog
            }
            Err(error) => {
                tracing::error!(error, "the kinds in force can't be served; serving those before");
                current
            }
        }
    }

    /// Who may call this gRPC path: none for what everybody may.
    ///
    /// # Errors
    /// As [`auth::check`].
    pub fn authorize(&self, headers: &HeaderMap, path: &str) -> Result<Option<Caller>, Status> {
        auth::check(&self.tokens.load(), headers, path, self.catalog().kind_of(path).is_some())
    }

    /// Who may call this gRPC path now, counted before anything is read of the call.
    ///
    /// # Errors
    /// As [`Services::authorize`] and [`Limits::count`].
    pub fn admit(&self, headers: &HeaderMap, path: &str) -> Result<Option<Caller>, Status> {
        let caller = self.authorize(headers, path)?;
        // A lease must not be lost because there is much to do: replicas renew at their own slow pace.
        if let Some(caller) = caller.as_ref().filter(|_| path != RENEW) {
            self.limits.count(caller)?;
        }
        Ok(caller)
    }

    /// Answers a gRPC request.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        match self.admit(request.headers(), request.uri().path()) {
            Ok(caller) => self.call_as(caller, request).await,
            Err(status) => status.into_http(),
        }
    }

    /// Answers a gRPC request of a caller who was admitted.
    pub async fn call_as(&self, caller: Option<Caller>, mut request: Request<Body>) -> Response<Body> {
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let catalog = self.catalog();
        let is_stream = catalog.is_stream(request.uri().path());
        let answer = self.limits.run(request, is_stream, |request| self.dispatch(&catalog, request)).await;
        answer.unwrap_or_else(Status::into_http)
    }

    async fn dispatch(&self, catalog: &Catalog, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let answer = match path.split('/').nth(1).unwrap_or_default() {
            OBJECTS => self.objects.clone().oneshot(request).await,
            CONTROL => self.control.clone().oneshot(request).await,
            HEALTH => self.health.clone().oneshot(request).await,
            _ => match catalog.kind_of(path) {
                Some(kind) => Ok(kind::call(&self.store, &kind.clone(), request).await),
                None => catalog.reflection().oneshot(request).await.map_err(|error: Infallible| error),
            },
        };
        answer.unwrap_or_else(|error| match error {})
    }
}

/// How replicas keep their leases.
const RENEW: &str = "/threeport.v1.ControlService/Renew";

/// Who writes and why; the caller is there because the method demands one.
fn cause(extensions: &Extensions, reason: &str) -> Cause {
    let actor = extensions.get::<Caller>().map(|caller| caller.identity.clone()).unwrap_or_default();
    Cause { actor, reason: reason.to_owned(), traceparent: current_traceparent() }
}

/// `spec.paused,meta.labels` as paths; quoted parts keep their commas.
fn update_mask(text: &str) -> Vec<String> {
    let mut is_quoted = false;
    let paths = text.split(|c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    paths.map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_split_at_commas_outside_quotes() {
        assert_eq!(update_mask("spec.paused, meta.labels[\"a,b\"]"), ["spec.paused", "meta.labels[\"a,b\"]"]);
        assert_eq!(update_mask(""), Vec::<String>::new());
    }
}
