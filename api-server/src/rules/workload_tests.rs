//! Workloads are checked whole and expand into what runs them.

use super::*;

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        project: "shop".into(),
        name: name.into(),
        labels: [("tier".into(), "dev".into())].into(),
        ..Default::default()
    }
}

fn problems(name: &str, mut spec: Value, previous: Option<&Value>) -> Vec<String> {
    let violations = normalize(&meta(name), &mut spec, previous).err().unwrap_or_default();
    violations.iter().map(ToString::to_string).collect()
}

fn project(runtime: &str) -> ProjectSpec {
    ProjectSpec { default_runtime: runtime.into(), ..Default::default() }
}

#[test]
fn exactly_one_source_is_taken() {
    assert_eq!(problems("web", json!({}), None), ["spec: has no source; give one of manifest, definition and image"]);
    let two = problems("web", json!({ "image": "a", "definition": "b" }), None);
    assert_eq!(two, ["spec: has 2 sources (definition, image); keep one"]);
    let stray = problems("web", json!({ "definition": "b", "port": 80, "inputs": [{}] }), None);
    assert_eq!(stray.len(), 2, "{stray:?}");
}

#[test]
fn the_plain_form_is_checked_in_every_field() {
    let spec = json!({
        "image": "NOT AN IMAGE", "port": 70000, "replicas": 2, "autoscale": {}, "health_path": "x",
        "resources": { "cpu": "much", "memory_limit": "1GiB" }, "env": { "1X": "" },
        "volumes": [{ "path": "data", "size": "" }, { "path": "data", "size": "1Gi" }],
        "processes": { "main": "x", "A": "y", "w": "'open" }
    });
    let fields =
        problems("web", spec, None).into_iter().map(|p| p.split(": ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        fields,
        [
            "spec.image",
            "spec.port",
            "spec.health_path",
            "spec.replicas",
            "spec.resources.cpu",
            "spec.resources.memory_limit",
            "spec.env[\"1X\"]",
            "spec.volumes[0].path",
            "spec.volumes[0].size",
            "spec.volumes[1].path",
            "spec.volumes[1].path",
            "spec.processes[\"A\"]",
            "spec.processes[\"main\"]",
            "spec.processes[\"w\"]"
        ]
    );
    let autoscale = problems("web", json!({ "image": "a:1", "autoscale": { "min": 3, "max": 2, "cpu": 0 } }), None);
    assert_eq!(autoscale.len(), 2, "{autoscale:?}");
    assert!(problems("1web", json!({ "image": "a:1", "port": 80 }), None)[0].contains("begin with a letter"));
}

#[test]
fn long_names_are_said_whole() {
    let name = "a".repeat(60);
    let problems = problems(&name, json!({ "image": "a:1", "instances": [{ "name": "prod" }] }), None);
    assert!(problems[0].contains(&format!("`{name}-prod`")), "{problems:?}");
}

#[test]
fn instances_stay_where_they_are() {
    let previous = json!({ "image": "a:1", "instances": [{ "name": "a", "runtime": "one", "namespace": "n" }] });
    let same = json!({ "image": "a:1", "instances": [{ "name": "a", "runtime": "shop/one", "namespace": "n" }, { "name": "b", "runtime": "two" }] });
    assert_eq!(problems("web", same, Some(&previous)), Vec::<String>::new());
    let moved = json!({ "image": "a:1", "instances": [{ "name": "a", "runtime": "two" }, { "name": "a" }] });
    let problems = problems("web", moved, Some(&previous));
    assert_eq!(problems[0], "spec.instances[0].runtime: the runtime `one` can't change; add a second instance");
    assert!(problems[1].starts_with("spec.instances[0].namespace: "), "{problems:?}");
    assert!(problems[2].starts_with("spec.instances[1].name: "), "{problems:?}");
}

#[test]
fn runtimes_are_resolved_once_and_kept() {
    let mut spec = json!({ "image": "a:1" });
    normalize(&meta("web"), &mut spec, None).unwrap();
    assert_eq!(fill(&mut spec, None, &project("one")), []);
    assert_eq!(spec["instances"], json!([{ "name": "default", "runtime": "one" }]));
    let mut again = json!({ "image": "a:1" });
    normalize(&meta("web"), &mut again, Some(&spec)).unwrap();
    assert_eq!(fill(&mut again, Some(&spec), &project("two")), []);
    assert_eq!(again, spec);
    let mut none = json!({ "image": "a:1", "instances": [{ "name": "x" }] });
    assert!(fill(&mut none, None, &project(""))[0].description.contains("tptctl runtime add"));
}

#[test]
fn a_plain_form_expands_into_definition_and_instances() {
    let mut spec = json!({ "image": "acme/web:1", "replicas": 0, "yield": [{ "path": "spec.replicas" }], "instances": [{ "name": "eu", "runtime": "one", "paused": true }] });
    normalize(&meta("web"), &mut spec, None).unwrap();
    assert_eq!(spec["replicas"], 0);
    let children = expand(&meta("web"), &spec).unwrap();
    assert_eq!((children[0].kind, children[0].name.as_str()), ("workload-definition", "web"));
    assert!(children[0].spec["manifest"].as_str().unwrap().contains("replicas: 0"));
    assert_eq!(children[0].spec["yield"], json!([{ "path": "spec.replicas" }]));
    assert_eq!(
        (children[1].kind, children[1].name.as_str(), children[1].labels["tier"].as_str()),
        ("workload-instance", "web-eu", "dev")
    );
    assert_eq!(children[1].spec, json!({ "definition": "web", "runtime": "one", "paused": true }));
}

#[test]
fn a_manifest_hands_its_secrets_to_its_definition() {
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\n";
    let mut spec = json!({ "manifest": manifest });
    normalize(&meta("web"), &mut spec, None).unwrap();
    let children = expand(&meta("web"), &spec).unwrap();
    assert_eq!(children[0].spec["secret_data"], json!({ "/s/stringData/a": "hunter2" }));
    assert!(!children[0].spec["manifest"].as_str().unwrap().contains("hunter2"));
}

#[test]
fn somebodys_definition_is_used_as_it_is() {
    let mut spec = json!({ "definition": "platform/web", "yield": [{ "path": "a" }], "instances": [{ "name": "x", "runtime": "r", "yield": [{ "path": "b" }] }] });
    normalize(&meta("web"), &mut spec, None).unwrap();
    let children = expand(&meta("web"), &spec).unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(
        children[0].spec,
        json!({ "definition": "platform/web", "runtime": "r", "yield": [{ "path": "a" }, { "path": "b" }] })
    );
}
