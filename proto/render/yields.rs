//! Which fields are left to others.

use super::path::FieldPath;
use super::resource::Resource;
use super::select::Selector;
use crate::json::Violation;
use crate::v1::FieldSelector;

/// What autoscalers write.
const REPLICAS: &str = "spec.replicas";

/// Marks `spec.replicas` of what an autoscaler among the resources targets, and the fields that selectors name.
/// Violations are of the field `yield`.
pub fn mark(resources: &mut [Resource], selectors: &[FieldSelector]) -> Vec<Violation> {
    let targets = resources.iter().filter_map(autoscaled).collect::<Vec<_>>();
    for (namespace, group, kind, name) in targets {
        for resource in resources.iter_mut() {
            if resource.is(&group, &kind) && resource.name() == name && resource.namespace() == namespace {
                add(resource, REPLICAS.parse().expect("a constant that the tests use"));
            }
        }
    }
    let mut violations = Vec::new();
    for (index, selector) in selectors.iter().enumerate() {
        match Selector::new(selector) {
            Ok(selector) => {
                for found in selector.select(resources) {
                    add(&mut resources[found], selector.path.clone());
                }
            }
            Err(message) => violations.push(Violation::new(format!("yield[{index}].path"), message)),
        }
    }
    violations
}

fn add(resource: &mut Resource, path: FieldPath) {
    if !resource.yields.contains(&path) {
        resource.yields.push(path);
    }
}

/// Namespace, group, kind and name of what an autoscaler scales.
pub fn autoscaled(resource: &Resource) -> Option<(String, String, String, String)> {
    if !resource.is("autoscaling", "HorizontalPodAutoscaler") {
        return None;
    }
    let target = &resource.value["spec"]["scaleTargetRef"];
    let group = target["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group);
    let (kind, name) = (target["kind"].as_str()?, target["name"].as_str()?);
    Some((resource.namespace().to_owned(), group.to_owned(), kind.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::manifest::parse_manifest;

    #[test]
    fn replicas_are_yielded_to_autoscalers_and_the_rest_as_told() {
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: {note: x}}\nspec: {replicas: 1}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: other}\nspec: {replicas: 1}\n---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n";
        let mut resources = parse_manifest(text).unwrap();
        let selector = |path: &str| FieldSelector { resource: None, path: path.into() };
        let selectors = [selector("metadata.annotations.note"), selector(REPLICAS), selector("a..b")];
        let violations = mark(&mut resources, &selectors);
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "yield[2].path");
        let yields = |index: usize| resources[index].yields.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(yields(0), ["spec.replicas", "metadata.annotations.note"]);
        assert_eq!(yields(1), ["spec.replicas"]);
        assert!(yields(2).is_empty());
    }
}
