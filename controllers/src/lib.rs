//! The built-in reconcilers: they make clusters be what the stored objects say.
//!
//! Architecture invariant: deciding is pure, and only `clients` speaks to the outside world.

pub mod clients;
pub mod config;
pub mod drift;
pub mod registry;
pub mod status_port;

mod health;
pub mod helm_workload_instance;
mod resource;
mod runtime_instance;
mod workload;
mod workload_instance;
