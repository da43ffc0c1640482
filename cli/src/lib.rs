//! `tptctl`, the command line of Threeport.

pub mod local;
