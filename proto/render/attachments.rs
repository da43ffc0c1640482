//! What dependencies contribute to a workload: manifests, environment, secrets, annotations of service accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::manifest::parse_manifest;
use super::pods;
use super::resource::{Resource, list_at, object, object_at};
use super::secrets::join_secrets;
use crate::SENSITIVE;
use crate::json::Violation;
use crate::v1::AttachmentSpec;

/// Adds one attachment to the resources of an instance; violations are of the field `attachments.<name>`.
///
/// A container's own environment stands: an attachment that sets the same name is a violation that says which.
/// Annotations go to the service accounts that pods name; pods that name none get one called after the instance.
pub fn apply(resources: &mut Vec<Resource>, instance: &str, name: &str, spec: &AttachmentSpec) -> Vec<Violation> {
    let mut problems = Vec::new();
    let secret = secret_name(instance, name);
    let environment = environment(spec, &secret);
    for resource in resources.iter_mut() {
        let shown = resource.to_string();
        pods::for_each_container(resource, |container| {
            problems.extend(add_environment(container, &environment).into_iter().map(|(variable, container)| {
                format!("sets environment variable `{variable}`, which container `{container}` of {shown} has already; remove one")
            }));
        });
    }
    if !spec.service_account_annotations.is_empty() {
        annotate_service_accounts(resources, instance, &spec.service_account_annotations, &mut problems);
    }
    if !spec.secret_data.is_empty() {
        resources.push(secret_resource(&secret, &spec.secret_data));
    }
    let place = format!("attachments.{name}");
    let mut violations = problems.into_iter().map(|problem| Violation::new(place.clone(), problem)).collect::<Vec<_>>();
    match parse_manifest(&spec.manifest) {
        Ok(mut extra) => {
            join_secrets(&mut extra, &spec.manifest_secret_data);
            resources.append(&mut extra);
        }
        Err(wrong) => violations.extend(wrong.into_iter().map(|violation| violation.below(&place))),
    }
    violations
}

/// The name of the Secret that holds an attachment's secret data.
pub fn secret_name(instance: &str, attachment: &str) -> String {
    format!("{instance}-{attachment}")
}

fn secret_resource(name: &str, data: &HashMap<String, String>) -> Resource {
    let encode = |value: &String| if value == SENSITIVE { value.clone() } else { BASE64.encode(value) };
    let data = data.iter().map(|(key, value)| (key.clone(), encode(value))).collect::<BTreeMap<_, _>>();
    Resource::new(
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "type": "Opaque", "data": data }),
    )
}

/// Variables by name, as containers list them.
fn environment(spec: &AttachmentSpec, secret: &str) -> BTreeMap<String, Value> {
    let plain = spec.env.iter().map(|(name, value)| (name.clone(), json!({ "name": name, "value": value })));
    let secret = spec.secret_env.iter().map(|(name, key)| {
        (name.clone(), json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } }))
    });
    plain.chain(secret).collect()
}

/// Adds variables; answers those, each with the container's name, that it has otherwise.
fn add_environment(container: &mut Value, variables: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    if variables.is_empty() {
        return Vec::new();
    }
    let container_name = container["name"].as_str().unwrap_or_default().to_owned();
    let list = list_at(object(container), "env");
    let mut taken = Vec::new();
    for (name, variable) in variables {
        match list.iter().find(|present| present["name"] == name.as_str()) {
            Some(present) if present == variable => {}
            Some(_) => taken.push((name.clone(), container_name.clone())),
            None => list.push(variable.clone()),
        }
    }
    taken
}

fn annotate_service_accounts(
    resources: &mut Vec<Resource>,
    instance: &str,
    annotations: &HashMap<String, String>,
    problems: &mut Vec<String>,
) {
    let mut wanted = BTreeSet::new();
    for resource in resources.iter_mut() {
        let namespace = resource.namespace().to_owned();
        let Some(spec) = pods::pod_spec_mut(resource) else { continue };
        let named = ["serviceAccountName", "serviceAccount"].iter().find_map(|field| spec[field].as_str());
        let name = named.filter(|name| !matches!(*name, "" | "default")).unwrap_or(instance).to_owned();
        spec["serviceAccountName"] = name.as_str().into();
        object(spec).remove("serviceAccount");
        wanted.insert((namespace, name));
    }
    for (namespace, name) in wanted {
        let is_it = |r: &Resource| r.is("", "ServiceAccount") && r.name() == name && r.namespace() == namespace;
        if !resources.iter().any(is_it) {
            if name != instance {
                problems.push(format!("annotates ServiceAccount `{name}`, which the workload's pods use and its manifest lacks; add it there"));
                continue;
            }
            let mut account =
                Resource::new(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } }));
            if !namespace.is_empty() {
                account.set_namespace(&namespace);
            }
            resources.push(account);
        }
        for account in resources.iter_mut().filter(|resource| is_it(resource)) {
            let present = object_at(account.metadata_mut(), "annotations");
            for (key, value) in annotations {
                if present.get(key).is_some_and(|present| present != value.as_str()) {
                    problems.push(format!(
                        "sets annotation `{key}`, which ServiceAccount `{name}` has otherwise; remove one"
                    ));
                } else {
                    present.insert(key.clone(), value.as_str().into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web, image: a, env: [{name: MINE, value: '1'}]}, {name: side, image: b}]}}}\n";

    fn attachment(json: Value) -> AttachmentSpec {
        crate::json::from_json(json).unwrap()
    }

    #[test]
    fn everything_reaches_every_container() {
        let mut resources = parse_manifest(MANIFEST).unwrap();
        let spec = attachment(json!({
            "manifest": "apiVersion: v1\nkind: Secret\nmetadata: {name: extra}\nstringData: {a: (sensitive)}\n",
            "manifest_secret_data": { "/extra/stringData/a": "x" },
            "env": { "HOST": "db" }, "secret_data": { "password": "hunter2" }, "secret_env": { "PASSWORD": "password" },
            "service_account_annotations": { "role": "reader" }
        }));
        assert_eq!(apply(&mut resources, "web-1", "db", &spec), []);
        for container in pods::containers(&resources[0]) {
            let env = container["env"].as_array().unwrap();
            assert!(env.contains(&json!({ "name": "HOST", "value": "db" })));
            assert!(env.contains(&json!({ "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "web-1-db", "key": "password" } } })));
        }
        assert_eq!(pods::pod_spec(&resources[0]).unwrap()["serviceAccountName"], "web-1");
        let account = resources.iter().find(|resource| resource.kind() == "ServiceAccount").unwrap();
        assert_eq!((account.name(), account.annotation("role")), ("web-1", Some("reader")));
        let secrets = resources.iter().filter(|resource| resource.kind() == "Secret").collect::<Vec<_>>();
        assert_eq!((secrets[0].name(), &secrets[0].value["data"]["password"]), ("web-1-db", &json!("aHVudGVyMg==")));
        assert_eq!(secrets[1].value["data"]["a"], "eA==");
    }

    #[test]
    fn what_the_workload_says_itself_stands() {
        let mut resources = parse_manifest(MANIFEST).unwrap();
        let violations = apply(&mut resources, "web-1", "db", &attachment(json!({ "env": { "MINE": "2" } })));
        assert_eq!(violations.len(), 1);
        assert_eq!(
            violations[0].to_string(),
            "attachments.db: sets environment variable `MINE`, which container `web` of Deployment `web` has already; remove one"
        );
        assert_eq!(pods::containers(&resources[0]).next().unwrap()["env"][0]["value"], "1");
    }

    #[test]
    fn service_accounts_that_pods_name_must_be_ours() {
        let manifest = MANIFEST.replace("{containers", "{serviceAccountName: mine, containers");
        let spec = attachment(json!({ "service_account_annotations": { "role": "reader" } }));
        let violations = apply(&mut parse_manifest(&manifest).unwrap(), "web-1", "db", &spec);
        assert!(violations[0].description.contains("ServiceAccount `mine`"), "{violations:?}");
        let manifest = format!("{manifest}---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: mine}}\n");
        let mut resources = parse_manifest(&manifest).unwrap();
        assert_eq!(apply(&mut resources, "web-1", "db", &spec), []);
        assert_eq!(resources[1].annotation("role"), Some("reader"));
    }
}
