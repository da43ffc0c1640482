//! Manifests are read strictly, and what is wrong is found by line and column.

use super::*;

fn problems(text: &str) -> Vec<String> {
    parse_manifest(text).unwrap_err().into_iter().map(|violation| violation.description).collect()
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";

#[test]
fn documents_are_split_and_empty_ones_skipped() {
    let text = format!(
        "# head\n---\n{MAP}data:\n  text: |\n    --- not a marker\n    x\n--- # second\n\n---\n{}...\n",
        MAP.replace("name: a", "name: b")
    );
    let names = parse_manifest(&text).unwrap().iter().map(|r| r.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(documents(&text).iter().map(|document| document.text).collect::<String>(), text);
    assert_eq!(parse_manifest("").unwrap(), []);
    assert_eq!(parse_manifest("---\n# nothing\n---\n").unwrap(), []);
}

#[test]
fn lists_are_flattened() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}]}\n";
    assert_eq!(parse_manifest(text).unwrap().len(), 2);
}

#[test]
fn malformed_yaml_is_found_by_line_and_column() {
    let text = format!("{MAP}---\n{}data:\n  a: [1, 2\nb: c\n", MAP.replace("name: a", "name: b"));
    let problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("manifest:1"), "{problems:?}");
    assert!(problems[0].contains("document 2: "), "{problems:?}");
}

#[test]
fn duplicate_keys_are_refused_where_they_are() {
    let problems = problems(&format!("{MAP}data:\n  a: x\n  a: y\n"));
    assert!(problems[0].starts_with("manifest:7:3: document 1: "), "{problems:?}");
}

#[test]
fn all_documents_are_checked() {
    let text = "kind: A\nmetadata: {name: x}\n---\n- list\n---\napiVersion: v1\nkind: Pod\nmetadata: {generateName: x-}\n---\napiVersion: v1\nkind: Pod\nmetadata: {labels: {a: 1}}\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 5, "{problems:?}");
    assert_eq!(problems[0], "manifest:1:1: document 1: `apiVersion` is missing or no string");
    assert!(problems[2].contains("manifest:6:1: document 3: `metadata.generateName`"), "{problems:?}");
}

#[test]
fn an_odd_version_or_kind_is_refused_where_it_is() {
    let text = "\napiVersion: ../../v1\nkind: Config/Map\nmetadata: {name: x}\n---\napiVersion: apps/v1/x\nkind: 3D\nmetadata: {name: x}\n";
    assert_eq!(
        problems(text),
        [
            "manifest:2:1: document 1: `../../v1` is no `apiVersion`",
            "manifest:2:1: document 1: `Config/Map` is no `kind`",
            "manifest:6:1: document 2: `apps/v1/x` is no `apiVersion`",
            "manifest:6:1: document 2: `3D` is no `kind`",
        ]
    );
}

#[test]
fn the_same_resource_twice_is_refused() {
    let problems = problems(&format!("{MAP}---\n{MAP}"));
    assert_eq!(problems, ["manifest:6:1: document 2: ConfigMap `a` is already in document 1; remove one"]);
}

#[test]
fn booleans_and_numbers_are_those_of_yaml_1_2() {
    let text = format!("{MAP}data:\n  a: yes\n  b: \"true\"\n  c: 0777\nspec:\n  d: true\n  e: 0x10\n  f: off\n");
    let resource = &parse_manifest(&text).unwrap()[0].value;
    assert_eq!(resource["data"]["a"], "yes");
    assert_eq!(resource["data"]["b"], "true");
    assert_eq!(resource["spec"]["d"], true);
    assert_eq!(resource["spec"]["f"], "off");
}

#[test]
fn alias_bombs_are_stopped() {
    let level = |level: usize| format!("b{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    let levels = (1..12).map(level).collect::<Vec<_>>().concat();
    let text = format!("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n{levels}");
    assert!(problems(&text)[0].starts_with("manifest:"));
}

#[test]
fn size_is_bounded() {
    assert!(problems(&"#".repeat(MAX_BYTES + 1))[0].contains("split it"));
    let many = (0..=MAX_RESOURCES).map(|n| MAP.replace("name: a", &format!("name: a{n}"))).collect::<Vec<_>>();
    let many = many.join("---\n");
    assert!(problems(&many)[0].contains("501 resources"));
}

#[test]
fn what_clusters_write_is_dropped() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  uid: x\n  resourceVersion: \"3\"\n  creationTimestamp: null\n  managedFields: []\nstatus: {x: 1}\n";
    assert_eq!(
        parse_manifest(text).unwrap()[0].value,
        serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } })
    );
}

#[test]
fn scopes_come_from_the_manifest_where_it_defines_the_kind() {
    let text = "apiVersion: acme.io/v1\nkind: Widget\nmetadata: {name: w}\n---\napiVersion: other.io/v1\nkind: Other\nmetadata: {name: o}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.acme.io}\nspec: {group: acme.io, scope: Cluster, names: {kind: Widget, plural: widgets}}\n";
    let scopes = parse_manifest(text).unwrap().iter().map(Resource::is_cluster_scoped).collect::<Vec<_>>();
    assert_eq!(scopes, [Some(true), None, Some(true)]);
}
