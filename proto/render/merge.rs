//! Strategic merge as Kubernetes defines it, by merge keys that are known here rather than asked of a cluster.
//!
//! Kinds that aren't Kubernetes' own are changed by JSON merge patch (RFC 7396), as kubectl does.
//! Source: <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

use super::resource::{Resource, list_at, object};
use super::scope;

/// Changes a resource by a patch.
///
/// # Errors
/// When the patch uses an unknown directive, or an element of a keyed list has no key.
pub fn merge(resource: &mut Resource, patch: &Value) -> Result<(), String> {
    if !scope::is_built_in(resource.group()) {
        json_patch::merge(&mut resource.value, patch);
        return Ok(());
    }
    let kind = resource.kind().to_owned();
    let fields = patch.as_object().ok_or("a patch is a map")?;
    merge_map(&Place { kind: &kind, field: "" }, object(&mut resource.value), fields)
}

/// Where in a resource a merge is: the kind, and the nearest field around (elements count as their list).
struct Place<'a> {
    kind: &'a str,
    field: &'a str,
}

/// What elements of a list are told apart by; empty: the list is replaced whole.
fn merge_keys(place: &Place, list: &str) -> &'static [&'static str] {
    match (place.field, list) {
        (
            "spec",
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "imagePullSecrets"
            | "schedulingGates"
            | "resourceClaims",
        )
        | ("containers" | "initContainers" | "ephemeralContainers", "env")
        | ("", "webhooks") => &["name"],
        ("", "secrets" | "imagePullSecrets") if place.kind == "ServiceAccount" => &["name"],
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => &["containerPort", "protocol"],
        ("spec", "ports") if place.kind == "Service" => &["port", "protocol"],
        ("containers" | "initContainers" | "ephemeralContainers", "volumeMounts") => &["mountPath"],
        ("containers" | "initContainers" | "ephemeralContainers", "volumeDevices") => &["devicePath"],
        ("spec", "hostAliases") => &["ip"],
        ("spec", "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        ("status", "conditions") => &["type"],
        ("metadata", "ownerReferences") => &["uid"],
        _ => &[],
    }
}

fn merge_map(place: &Place, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    if patch.get("$patch").is_some_and(|directive| directive == "replace") {
        target.clear();
    }
    if let Some(retained) = patch.get("$retainKeys") {
        let retained = retained.as_array().ok_or("`$retainKeys` is a list of keys")?;
        target.retain(|key, _| retained.iter().any(|retained| retained == key));
    }
    for (key, value) in patch {
        if let Some(directive) = key.strip_prefix('$') {
            apply_directive(directive, target, value)?;
            continue;
        }
        let inner = Place { kind: place.kind, field: key };
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(fields) if is_deleted(fields) => {
                target.remove(key);
            }
            Value::Object(fields) => {
                merge_map(&inner, object(target.entry(key.as_str()).or_insert(Value::Null)), fields)?;
            }
            Value::Array(items) => merge_list(place, key, list_at(target, key), items)?,
            scalar => {
                target.insert(key.clone(), scalar.clone());
            }
        }
    }
    Ok(())
}

fn apply_directive(directive: &str, target: &mut Map<String, Value>, value: &Value) -> Result<(), String> {
    if let Some(list) = directive.strip_prefix("deleteFromPrimitiveList/") {
        let gone = value.as_array().ok_or_else(|| format!("`$deleteFromPrimitiveList/{list}` is a list"))?;
        if let Some(Value::Array(items)) = target.get_mut(list) {
            items.retain(|item| !gone.contains(item));
        }
        return Ok(());
    }
    match (directive, value.as_str()) {
        ("patch", Some("replace" | "merge")) | ("retainKeys", _) => Ok(()),
        _ if directive.starts_with("setElementOrder/") => Ok(()),
        ("patch", _) => Err(format!("`$patch: {value}` is unknown; use `delete`, `replace` or `merge`")),
        _ => Err(format!("`${directive}` is no directive of strategic merge")),
    }
}

fn is_deleted(fields: &Map<String, Value>) -> bool {
    fields.get("$patch").is_some_and(|directive| directive == "delete")
}

fn merge_list(place: &Place, list: &str, target: &mut Vec<Value>, patch: &[Value]) -> Result<(), String> {
    let is_replacement = |item: &Value| {
        item.as_object().is_some_and(|f| f.len() == 1 && f.get("$patch").is_some_and(|d| d == "replace"))
    };
    let keys = merge_keys(place, list);
    if (place.field, list) == ("metadata", "finalizers") {
        target.extend(patch.iter().filter(|item| !target.contains(item)).cloned().collect::<Vec<_>>());
        return Ok(());
    }
    if keys.is_empty() || patch.iter().any(is_replacement) {
        *target = patch.iter().filter(|item| !is_replacement(item)).cloned().collect();
        return Ok(());
    }
    let inner = Place { kind: place.kind, field: list };
    for item in patch {
        let fields = item.as_object().ok_or_else(|| format!("an element of `{list}` isn't a map"))?;
        if fields.get(keys[0]).is_none_or(Value::is_null) {
            return Err(format!("an element of `{list}` has no `{}` to find it by", keys[0]));
        }
        let is_same = |other: &Value| keys.iter().all(|key| key_of(item, key) == key_of(other, key));
        if is_deleted(fields) {
            target.retain(|other| !is_same(other));
        } else if let Some(found) = target.iter_mut().find(|other| is_same(other)) {
            merge_map(&inner, object(found), fields)?;
        } else {
            let mut made = Map::new();
            merge_map(&inner, &mut made, fields)?;
            target.push(Value::Object(made));
        }
    }
    Ok(())
}

/// An element's key, with the default that Kubernetes gives.
fn key_of(item: &Value, key: &str) -> Value {
    match (&item[key], key) {
        (Value::Null, "protocol") => Value::from("TCP"),
        (value, _) => value.clone(),
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
