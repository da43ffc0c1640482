//! REST over the gRPC services, read from google.api.http in the descriptors.

mod etag;
mod reply;
mod routes;
mod template;
mod transcode;

pub use routes::{HttpRule, Route, http_rules, routes};
pub use template::Tree;
