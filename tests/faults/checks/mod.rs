//! What must be so when the faults are over.

mod cluster;
mod holders;
mod log;
mod rest;
mod writes;

pub use cluster::{contents, equals_desired, nothing_else};
pub use holders::never_two_at_one_object;
pub use log::log_is_sound;
pub use rest::comes_to_rest;
pub use writes::writes_are_present_once;
