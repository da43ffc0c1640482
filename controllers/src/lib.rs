//! The built-in reconcilers: they make clusters be what the stored objects say.
//!
//! Architecture invariant: deciding is pure, and only `clients` speaks to the outside world.

pub mod clients;
pub mod health;
pub mod resource;
