//! Lists: filters, pages, settled, the position to watch from.

use api_server::error::Error;
use threeport::v1::{EventsRequest, ListObjectsRequest, Object, ObjectList, ObjectReference};

use crate::fixture::{Fixture, definition, instance, meta, runtime};

async fn list(fixture: &Fixture, change: impl FnOnce(&mut ListObjectsRequest)) -> Result<ObjectList, Error> {
    let mut request =
        ListObjectsRequest { kind: "workload-definition".into(), project: "default".into(), ..Default::default() };
    change(&mut request);
    fixture.store.list(request).await
}

fn names(list: &ObjectList) -> Vec<&str> {
    list.items.iter().map(|item| meta(item).name.as_str()).collect()
}

fn labelled(name: &str, tier: &str) -> Object {
    let mut object = definition(name);
    object.meta.as_mut().unwrap().labels.insert("tier".into(), tier.into());
    object
}

#[tokio::test]
async fn filters_select_and_never_fail_on_data() {
    let fixture = Fixture::new().await;
    let objects = [labelled("a", "dev"), labelled("b", "prod"), definition("c")];
    fixture.apply(&objects).await.unwrap();
    for (filter, found) in [
        ("labels.tier = dev", vec!["a"]),
        ("labels.tier != dev", vec!["b", "c"]),
        ("labels.tier:*", vec!["a", "b"]),
        ("labels:tier", vec!["a", "b"]),
        ("NOT labels.tier:* OR name = \"a\"", vec!["a", "c"]),
        ("spec.manifest:DEPLOYMENT", vec!["a", "b", "c"]),
        ("status.images:\"nginx:1\" AND name >= b", vec!["b", "c"]),
        ("spec.manifest > 3", vec![]),
        ("status.nothing.at.all = 1", vec![]),
        ("created_at > \"2020-01-01T00:00:00Z\"", vec!["a", "b", "c"]),
        ("generation > 9 OR generation = 10", vec![]),
        ("generation < 10", vec!["a", "b", "c"]),
        ("spec.manifest > 1e-99999", vec![]),
        ("owner = x", vec![]),
        ("ready = True", vec![]),
    ] {
        let listed = list(&fixture, |request| request.filter = filter.into()).await;
        assert_eq!(names(&listed.unwrap_or_else(|error| panic!("{filter}: {error}"))), found, "{filter}");
    }
    for filter in [
        "name =",
        "spec.secret_data.a = x",
        "colour = red",
        "created_at > \"2020-99-99T00:00:00Z\"",
        "created_at > \"+12345-01-01T00:00:00Z\"",
    ] {
        let listed = list(&fixture, |request| request.filter = filter.into()).await;
        assert!(matches!(listed, Err(Error::Invalid(_))), "{filter}: {listed:?}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_keep_their_question() {
    let fixture = Fixture::new().await;
    let objects = (0..25).map(|n| definition(&format!("web-{n:02}"))).collect::<Vec<_>>();
    fixture.apply(&objects).await.unwrap();
    for order in ["", "name desc", "created_at", "updated_at desc"] {
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = list(&fixture, |request| {
                (request.page_size, request.page_token, request.order_by) = (10, token, order.into());
            });
            let page = page.await.unwrap();
            seen.extend(names(&page).into_iter().map(str::to_owned));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
            let other = list(&fixture, |request| {
                (request.page_token, request.filter) = (token.clone(), "name = a".into());
            });
            assert!(matches!(other.await, Err(Error::Invalid(_))));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25, "{order}");
    }
}

#[tokio::test]
async fn six_hundred_objects_are_listed_at_once() {
    let fixture = Fixture::new().await;
    for half in 0..2 {
        let objects = (0..300).map(|n| definition(&format!("web-{half}-{n}"))).collect::<Vec<_>>();
        fixture.apply(&objects).await.unwrap();
    }
    let started = std::time::Instant::now();
    assert_eq!(list(&fixture, |request| request.page_size = 1000).await.unwrap().items.len(), 600);
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

#[tokio::test]
async fn settled_says_whether_all_work_is_done() {
    let fixture = Fixture::new().await;
    fixture.apply(&[runtime("local"), definition("web"), instance("web-1", "web")]).await.unwrap();
    let settled = async |kind: &str, name: &str| meta(&fixture.store.get(kind, "default", name).await.unwrap()).settled;
    assert!(settled("definition", "web").await, "data is settled");
    assert!(!settled("instance", "web-1").await);
    fixture.reconcile().await;
    assert!(settled("instance", "web-1").await);
    let next = threeport::json::to_struct(serde_json::json!({ "manifest": crate::fixture::manifest("nginx:2") }));
    fixture.apply(&[Object { spec: Some(next), ..definition("web") }]).await.unwrap();
    assert!(!settled("instance", "web-1").await, "its definition changed");
    let events = fixture.store.events(EventsRequest { name: "web-1".into(), ..Default::default() }).await.unwrap();
    assert!(events.events.iter().all(|event| event.about.as_ref().unwrap().name == "web-1"));
}

#[tokio::test]
async fn a_wait_is_over_when_what_is_owned_has_given_up() {
    let fixture = Fixture::new().await;
    let instances = serde_json::json!([{ "name": "a", "runtime": "local" }]);
    let spec = serde_json::json!({ "manifest": crate::fixture::manifest("nginx:1"), "instances": instances });
    fixture.apply(&[runtime("local"), crate::fixture::object("workload", "default", "shop", spec)]).await.unwrap();
    fixture.reconcile().await;
    let reference = |name: &str| ObjectReference {
        kind: "workload".into(),
        project: "default".into(),
        name: name.into(),
        ..Default::default()
    };
    let state = async || {
        let state = fixture.store.wait_state(&[reference("shop")], false).await.unwrap();
        (state.done, state.succeeded)
    };
    assert_eq!(state().await, (true, true));
    let sql = fixture.sql().await;
    let unready = "UPDATE objects SET status = jsonb_set(status, '{conditions,0,status}', '\"False\"')
                   WHERE kind IN ('workload', 'workload-instance')";
    sql.execute(unready, &[]).await.unwrap();
    assert_eq!(state().await, (false, false));
    sql.execute("UPDATE work SET gave_up = true WHERE kind = 'workload-instance'", &[]).await.unwrap();
    assert_eq!(state().await, (true, false));
    let missing = fixture.store.wait_state(&[reference("shop"), reference("lost")], false).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    assert!(!fixture.store.wait_state(&[reference("shop"), reference("lost")], true).await.unwrap().done);
}
