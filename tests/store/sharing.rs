//! References across projects.

use api_server::error::Error;
use futures::future::join;
use serde_json::json;

use crate::fixture::{Fixture, definition, object, project, runtime};

fn foreign(name: &str, definition: &str) -> threeport::v1::Object {
    object("workload-instance", "shop", name, json!({ "definition": definition, "runtime": "default/local" }))
}

fn shared(mut object: threeport::v1::Object, with: &str) -> threeport::v1::Object {
    object.meta.as_mut().unwrap().shared_with = vec![with.into()];
    object
}

#[tokio::test]
async fn only_what_is_shared_can_be_used() {
    let fixture = Fixture::new().await;
    fixture.apply(&[project("shop"), shared(runtime("local"), "*"), definition("web")]).await.unwrap();
    let Err(Error::Invalid(violations)) = fixture.apply(&[foreign("web", "default/web")]).await else { panic!("used") };
    assert_eq!(violations[0].field, "spec.definition");
    assert!(violations[0].description.contains("not shared with project `shop`"), "{}", violations[0]);
    fixture.apply(&[shared(definition("web"), "shop"), foreign("web", "default/web")]).await.unwrap();
    let Err(Error::InUse { users, .. }) = fixture.apply(&[definition("web")]).await else { panic!("narrowed") };
    assert_eq!(users, ["workload-instance `shop/web`"]);
}

#[tokio::test]
async fn narrowing_that_races_a_use_never_leaves_both() {
    let fixture = Fixture::new().await;
    fixture.apply(&[project("shop"), shared(runtime("local"), "*")]).await.unwrap();
    for round in 0..60 {
        let name = format!("web-{round}");
        let definition = definition(&name);
        fixture.apply(&[shared(definition.clone(), "shop")]).await.unwrap();
        let (narrow, user) = ([definition], [foreign(&name, &format!("default/{name}"))]);
        let (narrowed, used) = join(fixture.apply(&narrow), fixture.apply(&user)).await;
        assert_ne!(narrowed.is_ok(), used.is_ok(), "round {round}: {narrowed:?}, {used:?}");
    }
}
