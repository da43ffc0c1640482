//! The Threeport SDK: the client, contexts, documents, and the runtime of controllers, ours and yours.

mod backoff;
pub mod client;
pub mod context;
pub mod controller;
pub mod document;
mod error;

pub use self::backoff::Backoff;
pub use self::client::{Client, Connection};
pub use self::error::Error;
