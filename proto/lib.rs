//! The Threeport API: generated messages and services, the kinds, and what every object shares.
//!
//! Architecture invariant: nothing here opens a connection or knows a database, a broker or a cluster.

#[allow(clippy::all, clippy::pedantic, reason = "the compilers of the API wrote this, and their lints change")]
pub mod v1 {
    tonic::include_proto!("threeport.v1");
    include!(concat!(env!("OUT_DIR"), "/debug.rs"));
}
pub mod bounded;
pub mod codec;
pub mod comments;
pub mod failpoint;
pub mod json;
pub mod kind;
pub mod object;
pub mod registry;
pub mod render;
pub mod spelling;
pub mod telemetry;
mod wanted;

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The serialized `FileDescriptorSet` of the API, comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every message and service of the API, for code that works on all of them alike.
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("build.rs wrote valid descriptors"));

/// Stands in every output for the value of a sensitive field; written back, it keeps the stored value.
pub const SENSITIVE: &str = "(sensitive)";
