//! The log and the queue on a real Postgres: what watchers see, who holds what, and what the broker hears.

mod fixture;
mod hinting;
mod ordering;
#[path = "../postgres/mod.rs"]
mod postgres;
mod queueing;
mod retaining;
mod sharing;
mod takeover;
