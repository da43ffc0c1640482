//! A client: one write after the other, each repeated under its request id until the server's answer is known.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use threeport::json::from_struct;
use threeport::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::book::{Answer, Book, Document, Entry, Key, Operation, Version};
use crate::operation::Author;
use crate::random::Random;
use crate::system::Api;
use crate::world::World;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);
/// When a client gives up, and with it the run.
const PATIENCE: Duration = Duration::from_mins(3);

/// Carries out so many operations, and returns what was said.
pub async fn run(world: Arc<World>, author: Author, operations: usize) -> Book {
    let mut book = Book::default();
    let mut random = Random::new(author.seed, &format!("client {}", author.client));
    let first = Operation::Apply(author.first_documents());
    carry_out(&world.apis, &mut random, &mut book, &format!("{}-{}-first", author.seed, author.client), first).await;
    for number in 0..operations {
        tokio::time::sleep(random.millis(20, 400)).await;
        let operation = author.draw(number, &book);
        let request_id = format!("{}-{}-{number}", author.seed, author.client);
        carry_out(&world.apis, &mut random, &mut book, &request_id, operation).await;
    }
    book
}

/// Deletes all that is left: every other client at once, the others one after the other, users first.
pub async fn delete_all(world: &World, books: &mut [Book], seed: u64) {
    let endings = books.iter_mut().enumerate().map(async |(client, book)| {
        let mut random = Random::new(seed, &format!("end {client}"));
        let kinds = ["attachment", "workload", "workload-instance", "workload-definition", "project"];
        let keys = kinds.iter().flat_map(|kind| book.of_kind(kind)).map(|version| version.key.clone());
        let keys = keys.collect::<Vec<_>>();
        let operations = if client % 2 == 0 {
            vec![Operation::DeleteAll(keys)]
        } else {
            keys.into_iter().map(Operation::Delete).collect()
        };
        for (number, operation) in operations.into_iter().enumerate() {
            carry_out(&world.apis, &mut random, book, &format!("{seed}-{client}-end-{number}"), operation).await;
        }
    });
    futures::future::join_all(endings).await;
}

async fn carry_out(apis: &[Api], random: &mut Random, book: &mut Book, request_id: &str, operation: Operation) {
    let (started, begun) = (Instant::now(), SystemTime::now());
    let answer = loop {
        let api = random.pick(apis);
        let status = match tokio::time::timeout(ATTEMPT, send(api, request_id, &operation)).await {
            Ok(Ok(answer)) => break answer,
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        if !is_to_be_repeated(&status, &operation, book) {
            let code = status.code();
            let is_refusal = matches!(code, Code::FailedPrecondition | Code::Aborted | Code::NotFound);
            assert!(is_refusal, "{request_id} ({operation}) was answered {code:?}: {}", status.message());
            break Answer::Refused(reason_of(&status));
        }
        assert!(started.elapsed() < PATIENCE, "{request_id} ({operation}) has no answer but {status}");
        tokio::time::sleep(random.millis(20, 200)).await;
    };
    check_refusal(&operation, &answer, book);
    let (request_id, ended) = (request_id.to_owned(), SystemTime::now());
    book.enter(Entry { request_id, operation, answer, begun, ended });
}

/// Whether the outcome is unknown, or the same request succeeds when what is going is gone.
fn is_to_be_repeated(status: &Status, operation: &Operation, book: &Book) -> bool {
    let is_unknown = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled)
        || status.source().is_some();
    let is_conflict = status.code() == Code::ResourceExhausted || reason_of(status) == "Conflict";
    let is_leaving = match reason_of(status).as_str() {
        "BeingDeleted" => true,
        "InUse" => match operation {
            Operation::Delete(key) => !book.is_used(key),
            Operation::Apply(documents) => documents.iter().all(|document| !book.is_used(&document.key)),
            Operation::Update { .. } => false,
            Operation::DeleteAll(_) => true,
        },
        _ => false,
    };
    is_unknown || is_conflict || is_leaving
}

/// Nobody else writes what a client writes: a refusal means something that the client knows.
fn check_refusal(operation: &Operation, answer: &Answer, book: &Book) {
    let Operation::Update { document, revision, .. } = operation else { return };
    let is_stale = book.present[&document.key].revision != *revision;
    let is_refused = matches!(answer, Answer::Refused(reason) if reason == "Stale");
    assert_eq!(is_refused, is_stale, "{operation} was answered {answer:?}");
}

async fn send(api: &Api, request_id: &str, operation: &Operation) -> Result<Answer, Status> {
    let (mut client, request_id) = (api.client.clone(), request_id.to_owned());
    match operation {
        Operation::Apply(documents) => {
            let objects = documents.iter().map(|document| document.object(0)).collect();
            let reason = request_id.clone();
            let request = v1::ApplyRequest { objects, validate_only: false, request_id, reason };
            let results = client.apply(request).await?.into_inner().results;
            let written = documents.iter().zip(results);
            Ok(Answer::Written(written.map(|(document, result)| applied(document, result)).collect()))
        }
        Operation::Update { document, mask, revision } => {
            let object = Some(document.object(*revision));
            let update_mask = mask.clone();
            let request = v1::UpdateObjectRequest { object, update_mask, request_id, ..Default::default() };
            let object = client.update(request).await?.into_inner();
            Ok(Answer::Written(vec![version(document, object, true)]))
        }
        Operation::Delete((kind, project, name)) => {
            let request = v1::DeleteObjectRequest {
                kind: kind.clone(),
                project: project.clone(),
                name: name.clone(),
                request_id,
                ..Default::default()
            };
            Ok(deleted(client.delete(request).await?.into_inner()))
        }
        Operation::DeleteAll(keys) => {
            let reference = |(kind, project, name): &Key| v1::ObjectReference {
                kind: kind.clone(),
                project: project.clone(),
                name: name.clone(),
                ..Default::default()
            };
            let objects = keys.iter().map(reference).collect();
            let request = v1::DeleteManyRequest { objects, request_id, ..Default::default() };
            Ok(deleted(client.delete_many(request).await?.into_inner()))
        }
    }
}

fn deleted(response: v1::DeleteResponse) -> Answer {
    let keys = response.deleted.into_iter().map(|gone| ((gone.kind, gone.project, gone.name), gone.id));
    Answer::Deleted(keys.collect::<BTreeMap<Key, String>>().into_iter().collect())
}

fn applied(document: &Document, result: v1::ApplyResult) -> Version {
    version(document, result.object.unwrap_or_default(), result.outcome != "unchanged")
}

fn version(document: &Document, object: v1::Object, is_changed: bool) -> Version {
    let meta = object.meta.unwrap_or_default();
    let stored = object.spec.map_or(Value::Null, from_struct);
    let differences = crate::equality::differences(&document.spec, &stored);
    assert!(differences.is_empty(), "{:?} was answered otherwise than it was sent: {differences:?}", document.key);
    Version {
        key: document.key.clone(),
        id: meta.id,
        generation: meta.generation,
        revision: meta.revision,
        spec: document.spec.clone(),
        shared_with: meta.shared_with,
        is_changed,
    }
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
