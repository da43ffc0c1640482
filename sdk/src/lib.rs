//! The Threeport SDK: the client, contexts, documents, and the runtime of controllers, ours and yours.
//!
//! This is a whole controller for a kind of its own, `website`, which owns a workload for each of its languages. It is
//! `examples/website.rs` of this crate, and needs an API server, a user's token to register the kind and a controller's:
//!
//! ```no_run
#![doc = include_str!("../examples/website.rs")]
//! ```

mod backoff;
pub mod client;
pub mod context;
pub mod controller;
pub mod custom;
pub mod document;
mod error;
mod ready;

pub use threeport;

pub use self::backoff::Backoff;
pub use self::client::{Client, Connection};
pub use self::error::Error;
pub use self::ready::Conditions;
