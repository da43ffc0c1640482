//! The whole system, end to end: real Postgres, NATS and Kubernetes API, our programs as processes.

mod access;
mod adoption;
mod api_surface;
mod apply;
mod benchmark;
mod cluster_calls;
mod crashes;
mod deletion;
mod drift;
mod fairness;
mod fencing;
mod helm;
mod kinds;
mod leaving;
mod protocols;
mod rate;
mod refusals;
mod replicas;
mod rollout;
mod runtimes;
mod sandbox;
mod secrets;
mod shared_resources;
mod strangers;
#[path = "../system/mod.rs"]
mod system;
mod tour;
mod tracing;
mod unhealthy;
mod up;
mod watching;
mod yielding;
