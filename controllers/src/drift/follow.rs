//! Follows one kind of resource in a cluster: lists, watches, resumes, lists again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;

use super::cache::{KindKey, instance_of};
use super::pace::Pace;
use super::{Watch, locked};
use crate::clients::kubernetes::{Change, Error, ResourceType, Result, Scope};
use crate::resource::{CONTROL_PLANE_LABEL, resource_version};

/// The cluster tells about every minute how far a watch is: one that is silent for longer may be half dead.
const SILENCE: Duration = Duration::from_secs(75);
/// A watch is resumed this often before its kind is listed again.
const RESUMES: u32 = 3;
/// A kind that the cluster doesn't serve (any more) may come (back): it is asked for at doubling distances.
const UNKNOWN_FIRST: Duration = Duration::from_secs(5);
const UNKNOWN_LAST: Duration = Duration::from_mins(1);

/// What of a kind is followed.
#[derive(Clone, Debug)]
pub enum Subject {
    /// What this control plane has labelled.
    Ours { kind: KindKey, control_plane_id: String },
    /// All horizontal pod autoscalers, labelled or not.
    Autoscalers,
    /// The pods of what this control plane has labelled.
    Pods { control_plane_id: String },
    /// All warnings: nobody labels events.
    Warnings,
}

impl Subject {
    fn kind(&self) -> KindKey {
        match self {
            Self::Ours { kind, .. } => kind.clone(),
            Self::Autoscalers => ("autoscaling/v2".into(), "HorizontalPodAutoscaler".into()),
            Self::Pods { .. } => ("v1".into(), "Pod".into()),
            Self::Warnings => ("v1".into(), "Event".into()),
        }
    }

    fn labels(&self) -> String {
        match self {
            Self::Ours { control_plane_id, .. } | Self::Pods { control_plane_id } => {
                format!("{CONTROL_PLANE_LABEL}={control_plane_id}")
            }
            Self::Autoscalers | Self::Warnings => String::new(),
        }
    }

    fn fields(&self) -> &'static str {
        if matches!(self, Self::Warnings) { "type=Warning" } else { "" }
    }
}

/// Follows until it is dropped.
pub async fn follow(watch: Arc<Watch>, subject: Subject) {
    let (mut pace, mut unknown, mut is_first) = (Pace::default(), Duration::ZERO, true);
    loop {
        let began = Instant::now();
        let Err(error) = list_and_watch(&watch, &subject, &mut is_first).await;
        let pause = if matches!(error, Error::UnknownKind { .. }) {
            unserved(&watch, &subject, std::mem::take(&mut is_first));
            unknown = (unknown * 2).clamp(UNKNOWN_FIRST, UNKNOWN_LAST);
            unknown
        } else {
            unknown = Duration::ZERO;
            tracing::debug!(kind = subject.kind().1, runtime = watch.cluster.runtime_id(), %error, "a watch broke");
            lost(&watch, &subject);
            pace.pause(began.elapsed())
        };
        tokio::time::sleep(pause).await;
    }
}

/// Lists once, then watches, resuming for as long as the cluster lets us.
async fn list_and_watch(watch: &Watch, subject: &Subject, is_first: &mut bool) -> Result<Infallible> {
    let (api_version, kind) = subject.kind();
    let resource = watch.cluster.resource_type(&api_version, &kind).await?;
    let scope = Scope { namespace: "", labels: &subject.labels(), fields: subject.fields() };
    let found = watch.cluster.list(&resource, &scope).await?;
    listed(watch, subject, &found.items, std::mem::take(is_first));
    let (mut from, mut pace, mut failures) = (found.resource_version, Pace::default(), 0);
    loop {
        let began = Instant::now();
        match watch_from(watch, subject, &resource, &scope, &mut from).await {
            Ok(()) => failures = 0,
            Err(Error::Unreachable(_)) if failures < RESUMES => failures += 1,
            Err(error) => return Err(error),
        }
        let pause = pace.pause(began.elapsed());
        if failures > 0 || !pause.is_zero() {
            lost(watch, subject);
            tokio::time::sleep(pause).await;
        }
    }
}

/// One watch, until the cluster ends it, or it is to be begun again.
async fn watch_from(
    watch: &Watch,
    subject: &Subject,
    resource: &ResourceType,
    scope: &Scope<'_>,
    from: &mut String,
) -> Result<()> {
    let changes = watch.cluster.watch(resource, scope, from).await?;
    resumed(watch, subject);
    let mut changes = std::pin::pin!(changes);
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            () = watch.restart.notified() => return Ok(()),
            () = tokio::time::sleep(SILENCE) => return Err(Error::Unreachable("the watch went silent".into())),
        };
        let (object, is_gone) = match change.transpose()? {
            None => return Ok(()),
            Some(Change::Bookmark(version)) => {
                *from = version;
                continue;
            }
            Some(Change::Present(object)) => (object, false),
            Some(Change::Gone(object)) => (object, true),
        };
        resource_version(&object).clone_into(from);
        changed(watch, subject, &object, is_gone);
    }
}

fn listed(watch: &Watch, subject: &Subject, items: &[Value], is_first: bool) {
    match subject {
        Subject::Ours { kind, .. } => {
            let touched = locked(&watch.cache).replace(kind, items);
            watch.touch(touched);
            if is_first {
                locked(&watch.suspects).listed_first(kind.clone());
                let unscaled = locked(&watch.cache).unscaled(Some(kind));
                watch.wake(unscaled);
            }
        }
        Subject::Autoscalers => {
            let touched = {
                let mut cache = locked(&watch.cache);
                let changed = cache.autoscalers.replace(items);
                if is_first { cache.unscaled(None) } else { cache.instances_with(&changed) }
            };
            watch.wake(touched);
        }
        Subject::Pods { .. } => {
            let touched = locked(&watch.troubles).replace_pods(items);
            watch.touch(touched);
        }
        Subject::Warnings => {
            let touched = locked(&watch.troubles).warnings.replace(items);
            watch.touch(locked(&watch.cache).instances_with(&touched));
            let pods = locked(&watch.troubles).instances_of_pods(&touched);
            watch.touch(pods);
        }
    }
}

/// What is missed of a kind that isn't served is missed as after a list.
fn unserved(watch: &Watch, subject: &Subject, is_first: bool) {
    if let Subject::Ours { kind, .. } = subject {
        let (touched, is_news) = locked(&watch.cache).note_unserved(kind);
        watch.touch(touched);
        if is_first || is_news {
            locked(&watch.suspects).listed_first(kind.clone());
        }
    } else {
        listed(watch, subject, &[], is_first);
    }
}

fn changed(watch: &Watch, subject: &Subject, object: &Value, is_gone: bool) {
    match subject {
        Subject::Ours { .. } => {
            let mut cache = locked(&watch.cache);
            let touched = if is_gone { cache.remove(object) } else { cache.put(object) };
            drop(cache);
            watch.news.notify_waiters();
            // No inventory is compared with namespaces. Who has lost one waits for that, or has to make it again.
            if is_gone && object["kind"] == "Namespace" {
                watch.wake(touched);
            } else {
                watch.touch(touched);
            }
        }
        Subject::Autoscalers => {
            let touched = {
                let mut cache = locked(&watch.cache);
                let changed = cache.autoscalers.change(object, is_gone);
                cache.instances_with(&changed)
            };
            watch.wake(touched);
        }
        Subject::Pods { .. } => {
            let mut troubles = locked(&watch.troubles);
            let instance_id = instance_of(object);
            let touched = if is_gone {
                troubles.remove_pod(object)
            } else {
                troubles.put_pod(instance_id, object).then(|| instance_id.to_owned())
            };
            drop(troubles);
            watch.touch(touched);
        }
        Subject::Warnings if is_gone => locked(&watch.troubles).warnings.remove(object),
        Subject::Warnings => warned(watch, object),
    }
}

/// Suspects whoever a warning is about, if it says something new.
fn warned(watch: &Watch, event: &Value) {
    let touched = {
        let mut troubles = locked(&watch.troubles);
        let Some(about) = troubles.warnings.put(event) else { return };
        troubles.instance_of_pod(&about).cloned().map_or_else(|| Err(about), Ok)
    };
    match touched {
        Ok(instance_id) => watch.touch([instance_id]),
        Err(about) => {
            let touched = locked(&watch.cache).instances_with([&about]);
            watch.touch(touched);
        }
    }
}

fn lost(watch: &Watch, subject: &Subject) {
    match subject {
        Subject::Ours { kind, .. } => {
            locked(&watch.cache).lose(kind);
            watch.news.notify_waiters();
        }
        Subject::Autoscalers => locked(&watch.cache).autoscalers.are_synced = false,
        Subject::Pods { .. } => locked(&watch.troubles).are_pods_synced = false,
        Subject::Warnings => locked(&watch.troubles).are_warnings_synced = false,
    }
}

fn resumed(watch: &Watch, subject: &Subject) {
    let was_complete = locked(&watch.troubles).are_complete();
    match subject {
        Subject::Ours { kind, .. } => locked(&watch.cache).resume(kind),
        Subject::Autoscalers => locked(&watch.cache).autoscalers.are_synced = true,
        Subject::Pods { .. } => locked(&watch.troubles).are_pods_synced = true,
        Subject::Warnings => locked(&watch.troubles).are_warnings_synced = true,
    }
    // While one of the two was missing nothing could be said of what isn't healthy.
    if !was_complete && locked(&watch.troubles).are_complete() {
        let ill = locked(&watch.cache).ill();
        watch.touch(ill);
    }
}
