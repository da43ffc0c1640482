//! Paths are parsed, printed, read and set as they say.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn path(text: &str) -> FieldPath {
    text.parse().unwrap()
}

#[test]
fn keys_indexes_matches_and_quoted_keys_are_read() {
    let value = json!({
        "metadata": { "labels": { "a.b/c": "x" } },
        "spec": { "containers": [{ "name": "web", "image": "a", "ports": [{ "containerPort": 80 }] }, { "name": "side", "image": "b" }] }
    });
    let cases = [
        (r#"metadata.labels["a.b/c"]"#, vec![json!("x")]),
        ("spec.containers[name=side].image", vec![json!("b")]),
        ("spec.containers[0].image", vec![json!("a")]),
        ("spec.containers[*].image", vec![json!("a"), json!("b")]),
        ("spec.containers[name=web].ports[containerPort=80].containerPort", vec![json!(80)]),
        ("spec.nothing.here", vec![]),
    ];
    for (text, expected) in cases {
        assert_eq!(path(text).get(&value), expected.iter().collect::<Vec<_>>(), "{text}");
        assert_eq!(path(text).to_string(), text);
    }
}

#[test]
fn what_is_no_path_says_how_to_write_one() {
    for text in ["", ".", "a.", "a..b", "[0]", "a[", "a[x]", "a[=b]", "a[name=b", "a]b", "a[\"b]", "a[-1]"] {
        let error = text.parse::<FieldPath>().unwrap_err();
        assert!(error.contains("is no field path; write it like"), "{text}: {error}");
    }
}

#[test]
fn setting_makes_maps_and_named_elements() {
    let mut value = json!({ "spec": { "containers": [{ "name": "web" }] } });
    assert_eq!(path("spec.containers[name=web].env[name=HOST].value").set(&mut value, &json!("x")), Ok(1));
    assert_eq!(path("metadata.annotations[\"a/b\"]").set(&mut value, &json!("y")), Ok(1));
    assert_eq!(
        value,
        json!({
            "metadata": { "annotations": { "a/b": "y" } },
            "spec": { "containers": [{ "name": "web", "env": [{ "name": "HOST", "value": "x" }] }] }
        })
    );
}

#[test]
fn a_misspelt_container_hits_nothing_and_leaves_no_trace() {
    let before = json!({ "spec": { "containers": [{ "name": "web" }] } });
    for text in ["spec.containers[name=wbe].image", "spec.containers[4].image", "spec.other[*].image"] {
        let mut value = before.clone();
        assert_eq!(path(text).set(&mut value, &json!("x")), Ok(0), "{text}");
        assert_eq!(value, before, "{text}");
    }
}

#[test]
fn a_scalar_in_the_way_is_an_error() {
    let mut value = json!({ "spec": { "replicas": 3 } });
    assert!(path("spec.replicas.count").set(&mut value, &json!(1)).is_err());
    assert!(path("spec.replicas[name=a].count").set(&mut value, &json!(1)).is_err());
}

#[test]
fn fields_are_removed_where_they_are() {
    let mut value = json!({ "a": [{ "name": "x", "v": 1 }, { "name": "y", "v": 2 }] });
    path("a[name=x].v").remove(&mut value);
    path("a[1]").remove(&mut value);
    path("b.c").remove(&mut value);
    assert_eq!(value, json!({ "a": [{ "name": "x" }] }));
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        "[a-z./\"\\[\\]=]{1,6}".prop_map(Step::Key),
        (0usize..20).prop_map(Step::Index),
        ("[a-z]{1,4}", "[a-z0-9.\\]\"]{0,6}").prop_map(|(key, value)| Step::Match { key, value }),
        Just(Step::Each),
    ]
}

proptest! {
    #[test]
    fn printing_and_parsing_agree(first in "[a-z.]{1,6}", rest in proptest::collection::vec(step(), 0..6)) {
        let path = FieldPath(std::iter::once(Step::Key(first)).chain(rest).collect());
        prop_assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
    }

    #[test]
    fn what_is_set_is_read(keys in proptest::collection::vec("[a-z./]{1,6}", 1..5), number in any::<i32>()) {
        let path = FieldPath(keys.into_iter().map(Step::Key).collect());
        let mut value = Value::Null;
        prop_assert_eq!(path.set(&mut value, &json!(number)), Ok(1));
        let expected = json!(number);
        prop_assert_eq!(path.get(&value), vec![&expected]);
        prop_assert!(path.has_parent(&value));
    }
}
