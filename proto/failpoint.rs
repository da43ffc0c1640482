//! Places where fault runs make a process die, fail or pause. Built without the feature `failpoints` nothing is left of them.

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

/// What the environment asked for. A plan is `point=action@pass,pass;…`: at these passes, counted from 1, of the point.
#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::Failed;

    /// How long `pause` lasts.
    const PAUSE: Duration = Duration::from_millis(500);

    static PLAN: LazyLock<HashMap<String, Point>> = LazyLock::new(|| {
        let plan = std::env::var("FAILPOINTS").unwrap_or_default();
        parse(&plan).unwrap_or_else(|part| panic!("FAILPOINTS: `{part}` is not `point=action@pass,pass`"))
    });

    #[derive(Debug)]
    struct Point {
        action: Action,
        at: Vec<u64>,
        passed: AtomicU64,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        /// As by kill -9.
        Abort,
        Error,
        Pause,
    }

    pub async fn pass(name: &'static str) -> Result<(), Failed> {
        let Some(point) = PLAN.get(name) else { return Ok(()) };
        if !point.at.contains(&(point.passed.fetch_add(1, Ordering::Relaxed) + 1)) {
            return Ok(());
        }
        tracing::warn!(point = name, action = ?point.action, "failpoint");
        match point.action {
            Action::Abort => std::process::abort(),
            Action::Error => Err(Failed(name)),
            Action::Pause => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }

    /// The points of a plan; fails with the part that can't be read.
    fn parse(plan: &str) -> Result<HashMap<String, Point>, &str> {
        let mut points = HashMap::new();
        for part in plan.split(';').filter(|part| !part.is_empty()) {
            let (name, rest) = part.split_once('=').ok_or(part)?;
            let (action, passes) = rest.split_once('@').ok_or(part)?;
            let action = match action {
                "abort" => Action::Abort,
                "error" => Action::Error,
                "pause" => Action::Pause,
                _ => return Err(part),
            };
            let at = passes.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| part)?;
            points.insert(name.to_owned(), Point { action, at, passed: AtomicU64::new(0) });
        }
        Ok(points)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_names_points_actions_and_passes() {
            let points = parse("finish.before=abort@3;store.committing=error@1,4").unwrap();
            assert_eq!((points["finish.before"].action, &points["finish.before"].at), (Action::Abort, &vec![3]));
            assert_eq!(points["store.committing"].at, [1, 4]);
            assert!(parse("").unwrap().is_empty());
            assert_eq!(parse("a=error@1;b=explode@1").unwrap_err(), "b=explode@1");
            assert!(parse("a=error").is_err() && parse("a=error@x").is_err());
        }
    }
}
