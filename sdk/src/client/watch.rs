//! Watches that never lose their place: they resume from their position, and list again when it is gone.

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use threeport::object::Object;
use threeport::registry::Registry;
use threeport::v1;
use tonic::{Status, Streaming};

use super::call::is_temporary;
use super::merge::{Merged, Merger};
use super::typed::typed;
use super::{Client, Filter};
use crate::Error;
use crate::backoff::Backoff;
use crate::error::reason_of;

/// The server sends a bookmark every 5 s; without any message for this long the connection is dead.
const SILENCE: Duration = Duration::from_secs(20);

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Kinds; empty for all.
    pub kinds: Vec<String>,
    /// The project; empty or `-` for all.
    pub project: String,
    /// As in a list, over name, labels and owner.
    pub filter: String,
    /// Resume after this position; none begins with a list.
    pub from_position: Option<i64>,
}

/// One change of any object.
#[derive(Clone, Debug)]
pub enum ErasedChange {
    /// All that there is now: forget what was known before. Comes first, and again when the log no longer reaches back.
    Listed { objects: Vec<v1::Object>, position: i64 },
    /// The whole object after a change; `event` says what changed, `commit` who did it (its events are left out).
    Written { object: v1::Object, event: String, commit: v1::WatchResponse },
    /// The object as last known; it is gone or no longer passes the filter.
    Removed { object: v1::Object, event: String, commit: v1::WatchResponse },
    /// All up to here was told.
    Position(i64),
}

/// One change of a typed object.
#[derive(Clone, Debug)]
pub enum Change<T> {
    /// All that there is now: forget what was known before.
    Listed(Vec<T>),
    /// The whole object after a change.
    Written(T),
    /// The object as last known.
    Removed(T),
}

impl Client {
    /// Follows objects of any kind. Ends after an error, which is one that trying again does not help against.
    pub fn watch_erased(
        &self,
        options: WatchOptions,
    ) -> impl Stream<Item = Result<ErasedChange, Error>> + Send + use<> {
        let watcher = Watcher {
            client: self.clone(),
            position: options.from_position,
            options,
            merger: Merger::default(),
            open: None,
            pending: VecDeque::new(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        };
        unfold(Some(watcher), async |watcher| {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(change) => Some((Ok(change), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Follows the objects of one kind.
    pub fn watch<T: Object>(&self, filter: &Filter) -> impl Stream<Item = Result<Change<T>, Error>> + Send + use<T> {
        use futures::StreamExt;
        let options = WatchOptions {
            kinds: vec![T::KIND.into()],
            project: filter.project.clone(),
            filter: filter.filter.clone(),
            from_position: None,
        };
        self.watch_erased(options).filter_map(async |change| match change {
            Ok(ErasedChange::Listed { objects, .. }) => {
                Some(objects.into_iter().map(typed).collect::<Result<_, _>>().map(Change::Listed))
            }
            Ok(ErasedChange::Written { object, .. }) => Some(typed(object).map(Change::Written)),
            Ok(ErasedChange::Removed { object, .. }) => Some(typed(object).map(Change::Removed)),
            Ok(ErasedChange::Position(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

struct Watcher {
    client: Client,
    options: WatchOptions,
    /// What was told; none before the first list.
    position: Option<i64>,
    merger: Merger,
    open: Option<Streaming<v1::WatchResponse>>,
    pending: VecDeque<ErasedChange>,
    backoff: Backoff,
}

impl Watcher {
    async fn next(&mut self) -> Result<ErasedChange, Error> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            let Some(position) = self.position else {
                self.list().await?;
                continue;
            };
            match self.receive(position).await {
                Ok(commit) => {
                    self.backoff.reset();
                    self.take(commit).await?;
                }
                Err(status) if matches!(reason_of(&status).as_str(), "PositionGone" | "PositionAhead") => {
                    tracing::debug!(position, "the log no longer reaches back; listing again");
                    (self.open, self.position) = (None, None);
                }
                Err(status) if is_temporary(&status) => {
                    self.open = None;
                    tokio::time::sleep(self.backoff.wait()).await;
                }
                Err(status) => return Err(self.client.failure(status, SILENCE)),
            }
        }
    }

    async fn receive(&mut self, position: i64) -> Result<v1::WatchResponse, Status> {
        let stream = if let Some(stream) = &mut self.open {
            stream
        } else {
            let request = self.client.prepare(v1::WatchRequest {
                kinds: self.options.kinds.clone(),
                project: self.options.project.clone(),
                filter: self.options.filter.clone(),
                from_position: position,
            });
            let mut objects = self.client.objects();
            self.open.insert(within(objects.watch(request)).await?.into_inner())
        };
        within(stream.message()).await?.ok_or_else(|| Status::unavailable("the watch ended"))
    }

    async fn take(&mut self, mut commit: v1::WatchResponse) -> Result<(), Error> {
        let events = std::mem::take(&mut commit.events);
        for event in events {
            let r#type = event.r#type.clone();
            match self.merger.merge(event) {
                Merged::Written(object) => self.written(object, r#type, &commit),
                Merged::Removed(object) => {
                    let commit = commit.clone();
                    self.pending.push_back(ErasedChange::Removed { object, event: r#type, commit });
                }
                Merged::Known => {}
                Merged::Incomplete(part) => {
                    if let Some(object) = self.read_whole(&part).await? {
                        self.merger.insert(object.clone());
                        self.written(object, r#type, &commit);
                    }
                }
            }
        }
        self.position = Some(commit.position);
        self.pending.push_back(ErasedChange::Position(commit.position));
        Ok(())
    }

    fn written(&mut self, object: v1::Object, event: String, commit: &v1::WatchResponse) {
        self.pending.push_back(ErasedChange::Written { object, event, commit: commit.clone() });
    }

    /// None if it has gone since, or a namesake has its place: what follows in the log tells.
    async fn read_whole(&self, part: &v1::Object) -> Result<Option<v1::Object>, Error> {
        let meta = part.meta.clone().unwrap_or_default();
        match self.client.get_erased(&part.kind, &meta.project, &meta.name).await {
            Ok(object) => Ok(Some(object).filter(|object| object.meta.as_ref().is_some_and(|now| now.id == meta.id))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&mut self) -> Result<(), Error> {
        let mut objects = Vec::new();
        let mut position = i64::MAX;
        for (kind, is_in_project) in self.kinds().await? {
            let project = match (is_in_project, self.options.project.as_str()) {
                (false, _) => String::new(),
                (true, "") => "-".to_owned(),
                (true, project) => project.to_owned(),
            };
            let filter = self.options.filter.clone();
            let request = v1::ListObjectsRequest { kind, project, filter, ..Default::default() };
            let mut list = self.list_patiently(request).await?;
            objects.append(&mut list.items);
            position = position.min(list.position);
        }
        self.merger.replace(&objects);
        self.position = Some(position);
        self.pending.push_back(ErasedChange::Listed { objects, position });
        Ok(())
    }

    /// A watch outlives any absence of its server.
    async fn list_patiently(&mut self, request: v1::ListObjectsRequest) -> Result<v1::ObjectList, Error> {
        loop {
            match self.client.list_all_erased(request.clone()).await {
                Err(Error::Unreachable { .. } | Error::Timeout(_)) if self.position_was_told() => {
                    tokio::time::sleep(self.backoff.wait()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Whether anything was told yet: a first list that fails is the caller's to know.
    fn position_was_told(&self) -> bool {
        self.options.from_position.is_some() || self.merger.is_begun()
    }

    async fn kinds(&self) -> Result<Vec<(String, bool)>, Error> {
        if self.options.kinds.is_empty() {
            let registry = self.client.kinds().await?;
            return Ok(registry.kinds().map(|kind| (kind.name.clone(), kind.is_in_project)).collect());
        }
        let built_in = Registry::built_in();
        let is_in_project = |kind: &str| built_in.find(kind).is_none_or(|kind| kind.is_in_project);
        Ok(self.options.kinds.iter().map(|kind| (kind.clone(), is_in_project(kind))).collect())
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(SILENCE, answer).await.unwrap_or_else(|_| Err(Status::unavailable("the watch is silent")))
}
