//! What must be so when the faults are over.

mod before;
mod cluster;
mod holders;
mod log;
mod rest;
mod writes;

pub use before::Before;
pub use cluster::{contents, equals_desired, nothing_else};
pub use holders::never_two_at_one_object;
pub use log::log_is_sound;
pub use rest::{Rest, comes_to_rest};
pub use writes::writes_are_present_once;
