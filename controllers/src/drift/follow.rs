//! Follows one kind of resource in a cluster: lists, watches, resumes, lists again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::cache::KindKey;
use super::{Watch, locked};
use crate::clients::kubernetes::{Change, Error, ResourceType, Result, Scope};
use crate::resource::{CONTROL_PLANE_LABEL, resource_version};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// A kind that the cluster doesn't serve (any more) may come (back).
const UNKNOWN_RETRY: Duration = Duration::from_secs(5);

/// What of a kind is followed.
#[derive(Clone, Debug)]
pub enum Subject {
    /// What this control plane has labelled.
    Ours { kind: KindKey, control_plane_id: String },
    /// All horizontal pod autoscalers, labelled or not.
    Autoscalers,
}

impl Subject {
    fn kind(&self) -> KindKey {
        match self {
            Self::Ours { kind, .. } => kind.clone(),
            Self::Autoscalers => ("autoscaling/v2".into(), "HorizontalPodAutoscaler".into()),
        }
    }

    fn selector(&self) -> String {
        match self {
            Self::Ours { control_plane_id, .. } => format!("{CONTROL_PLANE_LABEL}={control_plane_id}"),
            Self::Autoscalers => String::new(),
        }
    }
}

/// Follows until it is dropped.
pub async fn follow(watch: Arc<Watch>, subject: Subject) {
    let mut retry = FIRST_RETRY;
    loop {
        let pause = match list_and_watch(&watch, &subject).await {
            Ok(()) | Err(Error::Expired(_)) => {
                retry = FIRST_RETRY;
                continue;
            }
            Err(Error::UnknownKind { .. }) => {
                listed(&watch, &subject, &[]);
                UNKNOWN_RETRY
            }
            Err(error) => {
                tracing::debug!(kind = subject.kind().1, runtime = watch.cluster.runtime_id(), %error, "a watch broke");
                retry = (retry * 2).min(LAST_RETRY);
                retry
            }
        };
        lost(&watch, &subject);
        tokio::time::sleep(pause).await;
    }
}

/// Lists once, then watches, resuming for as long as the cluster lets us.
async fn list_and_watch(watch: &Watch, subject: &Subject) -> Result<()> {
    let (api_version, kind) = subject.kind();
    let resource = watch.cluster.resource_type(&api_version, &kind).await?;
    let selector = subject.selector();
    let found = watch.cluster.list(&resource, &Scope { namespace: "", labels: &selector, fields: "" }).await?;
    listed(watch, subject, &found.items);
    let (mut from, mut failures) = (found.resource_version, 0);
    loop {
        match watch_from(watch, subject, &resource, &mut from).await {
            Ok(()) => failures = 0,
            Err(Error::Unreachable(_)) if failures < 3 => {
                failures += 1;
                lost(watch, subject);
                tokio::time::sleep(FIRST_RETRY * failures).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// One watch, until the cluster ends it.
async fn watch_from(watch: &Watch, subject: &Subject, resource: &ResourceType, from: &mut String) -> Result<()> {
    let changes = watch.cluster.watch(resource, &subject.selector(), from).await?;
    if let Subject::Ours { kind, .. } = subject {
        locked(&watch.cache).resume(kind);
    }
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        match change? {
            Change::Bookmark(version) => *from = version,
            Change::Present(object) => {
                resource_version(&object).clone_into(from);
                changed(watch, subject, &object, false);
            }
            Change::Gone(object) => {
                resource_version(&object).clone_into(from);
                changed(watch, subject, &object, true);
            }
        }
    }
    Ok(())
}

fn listed(watch: &Watch, subject: &Subject, items: &[serde_json::Value]) {
    let touched = match subject {
        Subject::Ours { kind, .. } => locked(&watch.cache).replace(kind, items),
        Subject::Autoscalers => {
            locked(&watch.cache).replace_autoscalers(items);
            BTreeSet::new()
        }
    };
    watch.suspect(touched, Duration::ZERO);
}

fn changed(watch: &Watch, subject: &Subject, object: &serde_json::Value, is_gone: bool) {
    match subject {
        Subject::Ours { .. } => {
            let mut cache = locked(&watch.cache);
            let touched = if is_gone { cache.remove(object) } else { cache.put(object) };
            drop(cache);
            watch.suspect(touched, Duration::ZERO);
        }
        Subject::Autoscalers => {
            let touched = locked(&watch.cache).change_autoscaler(object, is_gone);
            locked(&watch.suspects).rescaled.extend(touched);
            watch.nudge.notify_one();
        }
    }
}

fn lost(watch: &Watch, subject: &Subject) {
    match subject {
        Subject::Ours { kind, .. } => locked(&watch.cache).lose(kind),
        Subject::Autoscalers => locked(&watch.cache).lose_autoscalers(),
    }
}
