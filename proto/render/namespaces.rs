//! Where resources that name no namespace go.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::resource::Resource;

/// The longest DNS label.
const MAX_LABEL: usize = 63;

/// Whether a text is a DNS label (RFC 1123).
pub fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The namespaces that a manifest itself settles: those it has documents for, or, when every namespaced resource names one,
/// those named.
pub fn manifest_namespaces(resources: &[Resource]) -> BTreeSet<String> {
    let documented = resources.iter().filter(|resource| resource.is("", "Namespace")).map(|r| r.name().to_owned());
    let documented = documented.collect::<BTreeSet<_>>();
    let mut namespaced = resources.iter().filter(|resource| resource.is_cluster_scoped() != Some(true)).peekable();
    if !documented.is_empty() || namespaced.peek().is_none() {
        return documented;
    }
    let named = namespaced.map(|resource| resource.namespace().to_owned()).collect::<BTreeSet<_>>();
    if named.contains("") { BTreeSet::new() } else { named }
}

/// The namespace for resources that name none: the instance's, else the manifest's if it settles exactly one, else one of
/// our own: `<name, cut>-<last 10 hex digits of the id>` (the first digits of a `UUIDv7` are a clock and would collide).
pub fn default_namespace(
    instance_name: &str,
    instance_id: Uuid,
    spec_namespace: &str,
    manifest_namespaces: &BTreeSet<String>,
) -> String {
    if !spec_namespace.is_empty() {
        return spec_namespace.to_owned();
    }
    if let (Some(only), 1) = (manifest_namespaces.first(), manifest_namespaces.len()) {
        return only.clone();
    }
    let id = instance_id.simple().to_string();
    let suffix = &id[id.len() - 10..];
    let cut = instance_name.get(..MAX_LABEL - 1 - suffix.len()).unwrap_or(instance_name).trim_end_matches('-');
    format!("{cut}-{suffix}")
}

/// Gives namespaced resources that name no namespace the default one, also where they name service accounts, and adds
/// a Namespace for each namespace used that has none: shared ones are claimed by all who use them.
///
/// Resources of unknown scope are left alone: whoever knows the cluster calls [`Resource::set_namespace`].
pub fn assign(resources: &mut Vec<Resource>, default: &str) {
    for resource in resources.iter_mut() {
        if resource.is_cluster_scoped() == Some(false) && resource.namespace().is_empty() {
            resource.set_namespace(default);
        }
        if matches!(resource.kind(), "RoleBinding" | "ClusterRoleBinding")
            && resource.group() == "rbac.authorization.k8s.io"
        {
            assign_subjects(&mut resource.value, default);
        }
    }
    let present = resources.iter().filter(|resource| resource.is("", "Namespace")).map(|r| r.name().to_owned());
    let present = present.collect::<BTreeSet<_>>();
    let used = resources.iter().map(|resource| resource.namespace().to_owned()).filter(|name| !name.is_empty());
    let used = used.collect::<BTreeSet<_>>();
    resources.extend(used.difference(&present).map(|name| namespace(name)));
}

/// A bare Namespace.
pub fn namespace(name: &str) -> Resource {
    Resource::new(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
}

/// Kubernetes demands a namespace of service accounts in bindings, and a managed one's name is known to nobody beforehand.
fn assign_subjects(binding: &mut Value, default: &str) {
    for subject in binding.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if subject["kind"] == "ServiceAccount" && subject["namespace"].as_str().unwrap_or_default().is_empty() {
            subject["namespace"] = default.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::manifest::parse_manifest;

    fn id() -> Uuid {
        "01920000-0000-7000-8000-00abcdef0123".parse().unwrap()
    }

    #[test]
    fn managed_names_end_in_the_ids_last_digits_and_fit() {
        let none = BTreeSet::new();
        assert_eq!(default_namespace("web", id(), "", &none), "web-abcdef0123");
        let long = default_namespace(&"a".repeat(63), id(), "", &none);
        assert_eq!(long.len(), 63);
        assert!(is_label(&long) && long.ends_with("-abcdef0123"));
        let dashed = default_namespace(&format!("{}-{}", "a".repeat(51), "b".repeat(11)), id(), "", &none);
        assert_eq!(dashed, format!("{}-abcdef0123", "a".repeat(51)));
    }

    #[test]
    fn what_is_said_comes_before_what_is_managed() {
        let one = BTreeSet::from(["shop".to_owned()]);
        let two = BTreeSet::from(["shop".to_owned(), "stock".to_owned()]);
        assert_eq!(default_namespace("web", id(), "mine", &one), "mine");
        assert_eq!(default_namespace("web", id(), "", &one), "shop");
        assert_eq!(default_namespace("web", id(), "", &two), "web-abcdef0123");
    }

    #[test]
    fn one_odd_namespace_does_not_draw_the_others_in() {
        let odd = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: kube-system}\n";
        assert_eq!(manifest_namespaces(&parse_manifest(odd).unwrap()), BTreeSet::new());
        let documented = format!("{odd}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n");
        assert_eq!(manifest_namespaces(&parse_manifest(&documented).unwrap()), BTreeSet::from(["shop".to_owned()]));
    }

    #[test]
    fn every_namespace_used_is_among_the_resources() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: other}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: c}\nsubjects: [{kind: ServiceAccount, name: x}]\n---\napiVersion: acme.io/v1\nkind: Widget\nmetadata: {name: w}\n";
        let mut resources = parse_manifest(text).unwrap();
        assign(&mut resources, "web-1");
        let names = resources.iter().filter(|r| r.is("", "Namespace")).map(Resource::name).collect::<Vec<_>>();
        assert_eq!(names, ["other", "web-1"]);
        assert_eq!(resources[0].namespace(), "web-1");
        assert_eq!(resources[2].namespace(), "");
        assert_eq!(resources[2].value["subjects"][0]["namespace"], "web-1");
        assert_eq!(resources[3].namespace(), "", "its scope is unknown");
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web-1", "0", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a\0", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad:?}");
        }
    }
}
