//! Places where fault runs make a process die, fail or pause. Built without the feature `failpoints` nothing is left of them.

#[cfg(feature = "failpoints")]
mod armed;

/// What a point answers that was told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failpoint `{0}`")]
pub struct Failed(pub &'static str);

impl From<Failed> for tonic::Status {
    fn from(failed: Failed) -> Self {
        tonic::Status::unavailable(failed.to_string())
    }
}

/// Passes the point: does what the environment variable `FAILPOINTS` says of this pass.
///
/// # Errors
/// When it says so.
#[cfg(feature = "failpoints")]
pub async fn pass(point: &'static str) -> Result<(), Failed> {
    armed::pass(point).await
}

/// Passes the point.
///
/// # Errors
/// Never: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unused_async, reason = "the same as where there are failpoints")]
#[inline]
pub async fn pass(_point: &'static str) -> Result<(), Failed> {
    Ok(())
}
