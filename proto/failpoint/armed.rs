//! What the environment asks of failpoints. A plan is `point=action@pass,pass;…`: at these passes, counted from 1, of the point.

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
