//! Lists and watches of whole collections.

use std::time::Duration;

use futures::{Stream, StreamExt};
use http::Request;
use kube::api::WatchEvent;
use kube::core::Status;
use serde_json::Value;

use super::calls::{Calls, query, unreachable};
use super::cluster::Scope;
use super::discovery::ResourceType;
use super::error::{Error, Result};
use super::metering::{Meter, OpenWatch};

/// The cluster ends a watch after this long, so that one that went silent is noticed.
const WATCH_SECONDS: &str = "290";

/// A watch that exists is answered at once, even when there is nothing to tell.
const ANSWER: Duration = Duration::from_secs(10);

/// A snapshot of a collection.
#[derive(Debug, Default)]
pub struct Listed {
    pub items: Vec<Value>,
    /// Watch from here.
    pub resource_version: String,
}

/// One step of a watch.
#[derive(Debug)]
pub enum Change {
    /// Created or changed: the object as it is now.
    Present(Value),
    /// The object as it last was.
    Gone(Value),
    /// Nothing, up to this resource version.
    Bookmark(String),
}

/// Follows a collection from a resource version on.
pub async fn watch(
    calls: &Calls,
    resource: &ResourceType,
    scope: &Scope<'_>,
    resource_version: &str,
) -> Result<impl Stream<Item = Result<Change>> + Send + use<>> {
    let parameters = [
        ("watch", "true"),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", WATCH_SECONDS),
        ("labelSelector", scope.labels),
        ("fieldSelector", scope.fields),
        ("resourceVersion", resource_version),
    ];
    let path = resource.path(scope.namespace, None) + &query(&parameters);
    let request = Request::get(path).body(Vec::new()).map_err(|error| Error::Invalid(error.to_string()))?;
    let meter = Meter::start("watch", &resource.kind);
    let events = tokio::time::timeout(ANSWER, calls.client.request_events::<Value>(request)).await;
    let silent = |_| Error::Unreachable(format!("no watch within {} s", ANSWER.as_secs()));
    let events = events.map_err(silent).and_then(|events| events.map_err(classified));
    meter.end(events.as_ref().map_or_else(Error::reason, |_| "200").into());
    let events = events?;
    let open = OpenWatch::start();
    Ok(events.map(move |event| {
        let _counted = &open;
        change(event)
    }))
}

fn change(event: kube::Result<WatchEvent<Value>>) -> Result<Change> {
    match event {
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Ok(Change::Present(object)),
        Ok(WatchEvent::Deleted(object)) => Ok(Change::Gone(object)),
        Ok(WatchEvent::Bookmark(bookmark)) => Ok(Change::Bookmark(bookmark.metadata.resource_version)),
        Ok(WatchEvent::Error(status)) => Err(refused(&status)),
        Err(error) => Err(classified(error)),
    }
}

fn classified(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => refused(&status),
        error => unreachable(&error),
    }
}

fn refused(status: &Status) -> Error {
    Error::from_answer(status.code, None, &serde_json::to_vec(status).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_is_too_old_has_expired() {
        let status = |code| Status { code, message: "told".into(), ..Status::default() };
        assert_eq!(refused(&status(410)), Error::Expired("told".into()));
        assert_eq!(refused(&status(500)), Error::Other("told".into()), "not to be asked again at once");
    }
}
