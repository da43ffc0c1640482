//! What the reader takes and what it refuses, with places.

use std::fs;

use serde_json::json;
use threeport::json::from_struct;

use super::*;
use crate::document::to_yaml;

fn reader() -> Reader<'static> {
    Reader::new(Registry::built_in(), "default")
}

fn read(text: &str) -> Result<Vec<Object>, Error> {
    let documents = reader().read_text("app.yaml", text, Path::new("."))?;
    Ok(documents.into_iter().map(|document| document.object).collect())
}

fn refusal(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn documents_become_objects() {
    let text = "version: v1\nkind: project\nname: shop\n---\nversion: v1\nkind: workload\nname: web\nproject: shop\n\
                labels: {tier: dev}\nspec:\n  image: nginx\n  replicas: 0\n";
    let objects = read(text).unwrap();
    assert_eq!((objects[0].kind.as_str(), objects[1].kind.as_str()), ("project", "workload"));
    let meta = objects[1].meta.clone().unwrap();
    assert_eq!((meta.project.as_str(), meta.name.as_str(), meta.labels["tier"].as_str()), ("shop", "web", "dev"));
    assert_eq!(from_struct(objects[1].spec.clone().unwrap()), json!({ "image": "nginx", "replicas": 0 }));
    assert_eq!(objects[0].meta.clone().unwrap().project, "");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = "version: v1\nkind: workload\nname: web\nspce: {}\nspec:\n  imge: nginx\n  instances:\n    - name: a\n      \
                pausd: true\n";
    assert_eq!(
        refusal(text),
        "app.yaml:4:1: spce: unknown key; did you mean `spec`?\n\
         app.yaml:6:3: spec.imge: unknown field; did you mean `image`?\n\
         app.yaml:9:7: spec.instances[0].pausd: unknown field; did you mean `paused`?"
    );
}

#[test]
fn an_unknown_kind_is_told_with_the_nearest() {
    let text = "version: v1\nkind: wokload\nname: web\n";
    assert_eq!(refusal(text), "app.yaml:2:1: kind: unknown kind `wokload`; did you mean `workload`?");
}

#[test]
fn a_kubernetes_manifest_is_told_where_it_belongs() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";
    assert!(refusal(text).contains("app.yaml:1:1: apiVersion: this is a Kubernetes manifest"), "{}", refusal(text));
}

#[test]
fn what_is_missing_is_asked_for() {
    assert_eq!(
        refusal("# nothing\nkind: workload\n"),
        "app.yaml:2:1: version: is required: `version: v1`\napp.yaml:2:1: name: is required"
    );
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let message = refusal("version: v1\nkind: [\n");
    assert!(message.starts_with("app.yaml:"), "{message}");
    assert!(!message.contains(" at line "), "{message}");
}

#[test]
fn files_are_read_beside_the_document() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("web.yaml"), "kind: Service\n").unwrap();
    let text = "version: v1\nkind: workload\nname: web\nspec:\n  manifest: {file: web.yaml}\n  env: {file: web.yaml}\n";
    let documents = reader().read_text("app.yaml", text, directory.path()).unwrap();
    let spec = from_struct(documents[0].object.spec.clone().unwrap());
    assert_eq!(spec, json!({ "manifest": "kind: Service\n", "env": { "file": "web.yaml" } }));
    let error = reader().read_text("app.yaml", text, Path::new("/nonexistent")).unwrap_err().to_string();
    assert!(error.starts_with("app.yaml:5:3: spec.manifest: file `web.yaml` can't be read:"), "{error}");
}

#[test]
fn bytes_are_read_as_base64_and_large_files_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("set.bin"), [0xff, 0x00]).unwrap();
    let text = "version: v1\nkind: object-kind\nname: widget\nspec:\n  descriptor_set: {file: set.bin}\n";
    let documents = reader().read_text("app.yaml", text, directory.path()).unwrap();
    assert_eq!(from_struct(documents[0].object.spec.clone().unwrap()), json!({ "descriptor_set": "/wA=" }));
    fs::write(directory.path().join("set.bin"), vec![0; 1024 * 1024 + 1]).unwrap();
    let error = reader().read_text("app.yaml", text, directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("file `set.bin` is larger than 1 MiB"), "{error}");
}

#[test]
fn what_is_written_reads_back() {
    let text = "version: v1\nkind: workload\nname: web\nlabels: {tier: dev}\nspec:\n  manifest: |\n    a: 1\n    b: 2\n  \
                inputs:\n    - {name: replicas, type: integer}\n";
    let objects = read(text).unwrap();
    let written = to_yaml(&objects).unwrap();
    assert_eq!(read(&written).unwrap(), objects, "{written}");
    assert!(written.contains("manifest: |\n"), "{written}");
}

#[test]
fn a_directory_stands_for_its_files() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("b.yaml"), "version: v1\nkind: project\nname: b\n").unwrap();
    fs::write(directory.path().join("a.yml"), "version: v1\nkind: project\nname: a\n").unwrap();
    fs::write(directory.path().join("notes.txt"), "no document").unwrap();
    let documents = reader().read_files(&[directory.path().to_owned()]).unwrap();
    let names = documents.iter().map(|document| document.object.meta.clone().unwrap().name).collect::<Vec<_>>();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn the_config_format_stands_beside_native_documents() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yaml"), "kind: ConfigMap").unwrap();
    let text = "Workload:\n  Name: web\n  YAMLDocument: web.yaml\n  KubernetesRuntimeInstance:\n    Name: eu\n---\n\
                version: v1\nkind: project\nname: shop\n";
    let documents = reader().read_text("app.yaml", text, folder.path()).unwrap();
    let spec = from_struct(documents[0].object.spec.clone().unwrap());
    assert_eq!(spec, json!({ "manifest": "kind: ConfigMap", "instances": [{ "name": "default", "runtime": "eu" }] }));
    assert_eq!(documents[0].place_of("spec.manifest"), "app.yaml:3:3");
    assert_eq!(documents[0].place_of("spec.instances[0].runtime"), "app.yaml:4:3");
    assert_eq!(documents[1].object.kind, "project");
}

#[test]
fn mistakes_in_the_config_format_are_told_with_their_place() {
    let text = "Workload:\n  Name: web\n  YAMLDocument: gone.yaml\n---\nWorkload:\n  Nam: web\n  Gateway: {Name: edge}\n---\n\
                Gateway:\n  Name: edge\n";
    let told = refusal(text);
    let lines = told.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("app.yaml:3:3: spec.manifest: file `gone.yaml` can't be read"), "{told}");
    assert_eq!(
        lines[1..],
        [
            "app.yaml:7:3: Workload.Gateway: has no counterpart yet",
            "app.yaml:6:3: Workload.Nam: unknown key; did you mean `Name`?",
            "app.yaml:9:1: Gateway: has no counterpart yet"
        ]
    );
}
