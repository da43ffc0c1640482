//! Secrets: encrypted at rest, hidden in every answer, kept by a placeholder, rotated in silence.

use api_server::error::Error;
use serde_json::json;
use threeport::v1::HistoryRequest;

use crate::fixture::{Fixture, KEYS, object, outcomes, runtime};

const SECRET: &str = "hunter2-token";
const NEW_KEYS: &str = "second:HxAREhMUFRYXGBkaGxwdHgABAgMEBQYHCAkKCwwNDg8=";

fn history() -> HistoryRequest {
    HistoryRequest {
        kind: "runtime".into(),
        project: "default".into(),
        name: "local".into(),
        ..HistoryRequest::default()
    }
}

#[tokio::test]
async fn no_secret_is_seen_anywhere() {
    let fixture = Fixture::new().await;
    let created = fixture.apply(&[runtime("local")]).await.unwrap();
    assert_eq!(outcomes(&fixture.apply(&[runtime("local")]).await.unwrap()), ["unchanged"]);
    let token = |token: &str| {
        let spec = json!({ "endpoint": "https://10.0.0.1:6443", "token": token });
        object("kubernetes-runtime-instance", "default", "local", spec)
    };
    assert_eq!(outcomes(&fixture.apply(&[token("(sensitive)")]).await.unwrap()), ["unchanged"]);
    let changed = fixture.apply(&[token("hunter3-token")]).await.unwrap();
    let difference = &changed.results[0].differences[0];
    assert_eq!((difference.before.as_str(), difference.after.as_str()), ("(sensitive)", "(changed)"));
    let past = fixture.store.history(history()).await.unwrap();
    assert_eq!(past.entries.len(), 2);
    assert_eq!(past.entries[0].differences[0].after, "(changed)");
    let seen = [
        format!("{:?}", threeport::json::to_json(&created)),
        format!("{:?}", threeport::json::to_json(&changed)),
        format!("{past:?}"),
        fixture.dump().await,
    ];
    for text in seen {
        assert!(!text.contains(SECRET) && !text.contains("hunter3"), "a secret shows");
    }
}

#[tokio::test]
async fn a_placeholder_on_create_is_refused() {
    let fixture = Fixture::new().await;
    let spec = json!({ "endpoint": "https://10.0.0.1:6443", "token": "(sensitive)" });
    let object = object("kubernetes-runtime-instance", "default", "local", spec);
    let Err(Error::Invalid(violations)) = fixture.apply(&[object]).await else { panic!("stored") };
    assert_eq!(violations[0].field, "spec.token");
}

#[tokio::test]
async fn rotation_changes_no_revision_and_lets_the_old_key_go() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local")]).await.unwrap();
    let commits = fixture.count("SELECT count(*) FROM commits").await;
    fixture.another(&format!("{NEW_KEYS}\n{KEYS}")).await;
    assert!(!fixture.dump().await.contains("enc:first:"));
    let store = fixture.another(NEW_KEYS).await;
    let request = threeport::v1::ApplyRequest { objects: vec![runtime("local")], ..Default::default() };
    let response = store.apply(request, &crate::fixture::cause()).await.unwrap();
    assert_eq!(outcomes(&response), ["unchanged"]);
    assert_eq!(fixture.count("SELECT count(*) FROM commits").await, commits);
}
