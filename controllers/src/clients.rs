//! The outside world as reconcilers see it. Architecture invariant: only this folder imports `kube`.

pub mod helm;
pub mod kubernetes;
