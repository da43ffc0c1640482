//! Every acknowledged write is in the log exactly once, every refused one not at all, and the present is what was written
//! last.

use serde_json::Value;

use crate::book::{Answer, Book, Entry, Operation, Version};
use crate::equality::differences;
use crate::system::{Api, json_of};
use crate::world::World;

pub async fn writes_are_present_once(world: &World, books: &[Book]) {
    for entry in books.iter().flat_map(|book| &book.entries) {
        check_entry(world, entry).await;
    }
    for version in books.iter().flat_map(|book| book.present.values()) {
        check_present(&world.apis[0], version).await;
    }
}

async fn check_entry(world: &World, entry: &Entry) {
    let number = async |query: String| world.database.number(&query).await;
    let expected = match &entry.answer {
        Answer::Written(versions) => {
            for version in versions.iter().filter(|version| version.is_changed) {
                check_logged(world, entry, version).await;
            }
            i64::from(versions.iter().any(|version| version.is_changed))
        }
        Answer::Deleted(deleted) => {
            for (key, id) in deleted {
                let query = format!("SELECT count(*) FROM changes WHERE object_id = '{id}' AND type = 'deleting'");
                assert_eq!(
                    number(query).await,
                    1,
                    "{}: the deletion of {key:?} is not in the log once",
                    entry.request_id
                );
            }
            return;
        }
        Answer::Refused(_) => 0,
    };
    // Only an apply says why.
    if matches!(entry.operation, Operation::Apply(_)) {
        let query = format!("SELECT count(*) FROM commits WHERE reason = '{}'", entry.request_id);
        assert_eq!(
            number(query).await,
            expected,
            "{} ({}) is not in the log as often as it was answered",
            entry.request_id,
            entry.operation
        );
    }
}

/// The revision that was answered is in the log once, with what was sent.
async fn check_logged(world: &World, entry: &Entry, version: &Version) {
    let query = format!(
        "SELECT c.spec, (c.meta ->> 'generation')::bigint FROM changes c
         WHERE c.object_id = '{}' AND (c.meta ->> 'revision')::bigint = {} AND c.type IN ('created', 'spec', 'meta')",
        version.id, version.revision
    );
    let rows = world.database.rows(&query).await;
    assert_eq!(rows.len(), 1, "{}: {version:?} is not in the log once", entry.request_id);
    assert_eq!(rows[0].get::<_, i64>(1), version.generation, "{}: {version:?}", entry.request_id);
    if let Some(spec) = rows[0].get::<_, Option<Value>>(0) {
        let differences = differences(&version.spec, &spec);
        assert!(differences.is_empty(), "{}: {differences:?}", entry.request_id);
    }
}

/// The object is as its only writer left it.
async fn check_present(api: &Api, version: &Version) {
    let (kind, project, name) = version.key.clone();
    let request = threeport::v1::GetObjectRequest { kind, project, name };
    let found = api.client.clone().get(request).await;
    let found = json_of(found.unwrap_or_else(|status| panic!("{:?} is lost: {status}", version.key)).into_inner());
    let meta = (&found["meta"]["id"], &found["meta"]["revision"], &found["meta"]["generation"]);
    let known = (&version.id, &version.revision.to_string(), &version.generation.to_string());
    assert_eq!(
        (meta.0.as_str(), meta.1.as_str(), meta.2.as_str()),
        (Some(&**known.0), Some(&**known.1), Some(&**known.2))
    );
    let differences = differences(&version.spec, &found["spec"]);
    assert!(differences.is_empty(), "{:?} is not as it was written: {differences:?}", version.key);
}
