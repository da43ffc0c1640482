//! Strategic merge does what `kubectl patch` does.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
fn deployment(containers: Value) -> Resource {
    Resource::new(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 1, "template": { "spec": { "containers": containers, "tolerations": [{ "key": "a" }] } } }
    }))
}

#[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
fn patch_containers(containers: Value) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

fn containers(resource: &Resource) -> &Value {
    &resource.value["spec"]["template"]["spec"]["containers"]
}

#[test]
fn keyed_lists_are_merged_by_their_keys() {
    let mut resource = deployment(json!([
        { "name": "web", "image": "a", "env": [{ "name": "A", "value": "1" }], "ports": [{ "containerPort": 53 }, { "containerPort": 53, "protocol": "UDP" }] },
        { "name": "side", "image": "b" }
    ]));
    let patch = patch_containers(json!([
        { "name": "web", "env": [{ "name": "B", "value": "2" }, { "name": "A", "value": "3" }], "ports": [{ "containerPort": 53, "protocol": "UDP", "name": "dns" }],
          "volumeMounts": [{ "mountPath": "/data", "name": "data" }] },
        { "name": "new", "image": "c" }
    ]));
    merge(&mut resource, &patch).unwrap();
    assert_eq!(
        *containers(&resource),
        json!([
            { "name": "web", "image": "a", "env": [{ "name": "A", "value": "3" }, { "name": "B", "value": "2" }],
              "ports": [{ "containerPort": 53 }, { "containerPort": 53, "protocol": "UDP", "name": "dns" }],
              "volumeMounts": [{ "mountPath": "/data", "name": "data" }] },
            { "name": "side", "image": "b" },
            { "name": "new", "image": "c" }
        ])
    );
}

#[test]
fn other_lists_are_replaced() {
    let mut resource = deployment(json!([{ "name": "web", "args": ["a", "b"] }]));
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "web", "args": ["c"] }], "tolerations": [{ "key": "b" }] } } } });
    merge(&mut resource, &patch).unwrap();
    assert_eq!(containers(&resource)[0]["args"], json!(["c"]));
    assert_eq!(resource.value["spec"]["template"]["spec"]["tolerations"], json!([{ "key": "b" }]));
}

#[test]
fn directives_delete_and_replace() {
    let mut resource = deployment(json!([{ "name": "web", "image": "a" }, { "name": "side", "image": "b" }]));
    resource.value["metadata"]["finalizers"] = json!(["x", "y"]);
    let patch = json!({
        "metadata": { "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z", "y"] },
        "spec": { "replicas": null, "$setElementOrder/x": [], "template": { "spec": { "containers": [{ "name": "side", "$patch": "delete" }] } } }
    });
    merge(&mut resource, &patch).unwrap();
    assert_eq!(*containers(&resource), json!([{ "name": "web", "image": "a" }]));
    assert_eq!(resource.value["metadata"]["finalizers"], json!(["y", "z"]));
    assert_eq!(resource.value["spec"].get("replicas"), None);

    merge(&mut resource, &patch_containers(json!([{ "$patch": "replace" }, { "name": "only" }]))).unwrap();
    assert_eq!(*containers(&resource), json!([{ "name": "only" }]));
    merge(&mut resource, &json!({ "spec": { "$patch": "replace", "paused": true } })).unwrap();
    assert_eq!(resource.value["spec"], json!({ "paused": true }));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases = [
        (patch_containers(json!([{ "image": "x" }])), "an element of `containers` has no `name` to find it by"),
        (patch_containers(json!(["x"])), "an element of `containers` isn't a map"),
        (json!({ "$patch": "destroy" }), "`$patch: \"destroy\"` is unknown"),
        (json!({ "$foo": 1 }), "`$foo` is no directive"),
    ];
    for (patch, expected) in cases {
        let error = merge(&mut deployment(json!([])), &patch).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn custom_resources_take_json_merge_patches() {
    let mut resource = Resource::new(
        json!({ "apiVersion": "acme.io/v1", "kind": "W", "spec": { "containers": [{ "name": "a" }], "x": 1 } }),
    );
    merge(&mut resource, &json!({ "spec": { "containers": [{ "name": "b" }], "x": null } })).unwrap();
    assert_eq!(resource.value["spec"], json!({ "containers": [{ "name": "b" }] }));
}

fn container() -> impl Strategy<Value = Value> {
    ("[a-c]", proptest::option::of("[a-z]{1,3}"), proptest::collection::btree_map("[A-C]", "[a-z]{0,2}", 0..3))
        .prop_map(|(name, image, env)| {
            let env = env.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>();
            json!({ "name": name, "image": image.unwrap_or_default(), "env": env })
        })
}

fn container_list() -> impl Strategy<Value = Value> {
    proptest::collection::vec(container(), 0..4).prop_map(|mut items| {
        let mut seen = Vec::new();
        items.retain(|item| {
            !seen.contains(&item["name"]) && {
                seen.push(item["name"].clone());
                true
            }
        });
        Value::from(items)
    })
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(base in container_list(), patch in container_list()) {
        let patch = patch_containers(patch);
        let mut once = deployment(base);
        merge(&mut once, &patch).unwrap();
        let mut twice = once.clone();
        merge(&mut twice, &patch).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn merging_itself_changes_nothing(base in container_list()) {
        let mut resource = deployment(base);
        let before = resource.clone();
        merge(&mut resource, &before.value).unwrap();
        prop_assert_eq!(resource, before);
    }
}
