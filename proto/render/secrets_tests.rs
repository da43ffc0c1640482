//! No value of a Secret stays in a manifest, and each finds its way back.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::render::manifest::parse_manifest;

const MANIFEST: &str = r"# the map
apiVersion: v1
kind: ConfigMap
metadata: {name: a}   # kept
data:   {password: not-secret}
---
apiVersion: v1
kind: Secret
metadata:
  name: b
  namespace: n
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: hunter2
data:
  raw: aHVudGVyMg==
stringData:
  plain: hunter2
--- # the list
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Secret
  metadata: {name: c}
  stringData: {key: hunter2}
";

#[test]
fn secrets_are_taken_out_and_the_rest_keeps_its_layout() {
    let (text, values) = split_secrets(MANIFEST).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    assert!(text.starts_with(MANIFEST.split("---").next().unwrap()), "{text}");
    let expected =
        [("/c/stringData/key", "hunter2"), ("n/b/data/raw", "aHVudGVyMg=="), ("n/b/stringData/plain", "hunter2")];
    assert_eq!(values, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(parse_manifest(&text).unwrap().len(), 3);
}

#[test]
fn splitting_twice_is_splitting_once() {
    let (once, values) = split_secrets(MANIFEST).unwrap();
    let (twice, markers) = split_secrets(&once).unwrap();
    assert_eq!(once, twice);
    assert!(markers.keys().eq(values.keys()));
    assert!(markers.values().all(|value| value == SENSITIVE));
}

#[test]
fn joining_gives_data_in_base64() {
    let (text, values) = split_secrets(MANIFEST).unwrap();
    let mut resources = parse_manifest(&text).unwrap();
    join_secrets(&mut resources, &values.into_iter().collect::<HashMap<_, _>>());
    assert_eq!(resources[1].value["data"], json!({ "raw": "aHVudGVyMg==", "plain": "aHVudGVyMg==" }));
    assert_eq!(resources[1].value.get("stringData"), None);
    assert_eq!(resources[0].value["data"], json!({ "password": "not-secret" }));
}

#[test]
fn hidden_values_stay_hidden() {
    let (text, values) = split_secrets(MANIFEST).unwrap();
    let mut resources = parse_manifest(&text).unwrap();
    let hidden = values.into_keys().map(|key| (key, SENSITIVE.to_owned())).collect::<HashMap<_, _>>();
    join_secrets(&mut resources, &hidden);
    assert_eq!(resources[1].value["data"], json!({ "raw": SENSITIVE, "plain": SENSITIVE }));
}

#[test]
fn values_that_kubernetes_would_refuse_are_refused_without_being_shown() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: hunter2!}\nstringData: {y: 5432}\n";
    let violations = split_secrets(text).unwrap_err();
    assert_eq!(violations.len(), 2);
    let shown = format!("{violations:?}");
    assert!(shown.contains("isn't base64") && shown.contains("quote it"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("5432"), "{shown}");
}

proptest! {
    #[test]
    fn every_value_comes_back(values in proptest::collection::btree_map("[a-z.]{1,8}", "\\PC{0,20}", 1..4), comment in "[a-z ]{0,10}") {
        prop_assume!(values.values().all(|value| value != SENSITIVE));
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": values });
        let before = format!("# {comment}\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n---\n{}", yaml::document(&secret));
        let (text, taken) = split_secrets(&before).unwrap();
        let mut resources = parse_manifest(&text).unwrap();
        join_secrets(&mut resources, &taken.into_iter().collect::<HashMap<_, _>>());
        let expected = values.into_iter().map(|(key, value)| (key, Value::from(BASE64.encode(value)))).collect();
        prop_assert_eq!(&resources[1].value["data"], &Value::Object(expected));
    }
}

#[test]
fn what_may_be_a_secret_in_the_wrong_place_is_refused_without_its_value() {
    for (manifest, said) in [
        ("{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: [hunter2]}", "isn't a map"),
        ("{apiVersion: v1, kind: Secret, metadata: {name: a}, data: hunter2}", "isn't a map"),
        ("{apiVersion: v1, kind: Secret, metadata: {name: a}, stringdata: {p: hunter2}}", "no field `stringdata`"),
        ("{apiVersion: v1, kind: secret, metadata: {name: a}, stringData: {p: hunter2}}", "write `Secret`"),
        ("{apiVersion: core/v1, kind: Secret, metadata: {name: a}, stringData: {p: hunter2}}", "is `v1`"),
    ] {
        let violations = split_secrets(manifest).unwrap_err();
        let text = violations.iter().map(ToString::to_string).collect::<String>();
        assert!(text.contains(said) && !text.contains("hunter2"), "{text}");
    }
    split_secrets("{apiVersion: vault.example/v1, kind: Secret, metadata: {name: a}, spec: {path: kv}}").unwrap();
    split_secrets("{apiVersion: v1, kind: Secret, metadata: {name: a}, data: null, immutable: true}").unwrap();
}
