//! The API server: stores objects, orders the log, hands out work, answers gRPC and REST.
//!
//! A request passes `auth` → `services` → `rules` → `store`, in that order.
//! Architecture invariants: only `store` speaks SQL; nothing here knows a cluster or a cloud; a write, its history and its
//! notification share one transaction.

pub mod auth;
pub mod config;
pub mod error;
pub mod hints;
pub mod kinds;
pub mod limits;
pub mod observe;
pub mod rest;
pub mod routes;
pub mod rules;
pub mod server;
pub mod services;
pub mod store;
