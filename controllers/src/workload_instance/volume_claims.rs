//! Volume claims that stateful sets make: nobody applies them, but a deletion must name or delete them.

use serde_json::Value;
use threeport::v1::InventoryEntry;

use crate::clients::kubernetes::{Cluster, Result, Scope};
use crate::resource::{as_query, group, reference, selector, text, uid};

/// Inventory entries for the claims of a stateful set, by its selector and templates.
pub async fn of(cluster: &Cluster, stateful_set: &Value) -> Result<Vec<InventoryEntry>> {
    let prefixes = prefixes(stateful_set);
    let labels = as_query(&selector(stateful_set));
    if prefixes.is_empty() || labels.is_empty() {
        return Ok(Vec::new());
    }
    let resource = cluster.resource_type("v1", "PersistentVolumeClaim").await?;
    let scope = Scope { namespace: text(&stateful_set["metadata"]["namespace"]), labels: &labels, fields: "" };
    let claims = cluster.list(&resource, &scope).await?.items;
    let is_made_for_it =
        |claim: &&Value| prefixes.iter().any(|prefix| is_numbered(text(&claim["metadata"]["name"]), prefix));
    Ok(claims.iter().filter(is_made_for_it).map(entry).collect())
}

/// Whether an object makes claims of its own.
pub fn has_templates(object: &Value) -> bool {
    object["kind"] == "StatefulSet" && group(text(&object["apiVersion"])) == "apps" && !prefixes(object).is_empty()
}

fn prefixes(stateful_set: &Value) -> Vec<String> {
    let templates = stateful_set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let name = text(&stateful_set["metadata"]["name"]);
    templates.map(|template| format!("{}-{name}-", text(&template["metadata"]["name"]))).collect()
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
}

fn entry(claim: &Value) -> InventoryEntry {
    InventoryEntry {
        resource: Some(reference(claim)),
        uid: uid(claim).to_owned(),
        retained: true,
        observed: true,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_told_by_template_set_and_ordinal() {
        let set = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" },
            "spec": { "volumeClaimTemplates": [{ "metadata": { "name": "data" } }], "selector": { "matchLabels": { "app": "db" } } } });
        assert_eq!(prefixes(&set), ["data-db-"]);
        assert!(is_numbered("data-db-0", "data-db-") && !is_numbered("data-db-other-0", "data-db-"));
        assert_eq!(as_query(&selector(&set)), "app=db");
        assert!(has_templates(&set));
    }
}
