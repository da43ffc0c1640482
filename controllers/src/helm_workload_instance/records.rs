//! The revisions of a release, from the labels of the Secrets in which Helm records them: no secret is read for it.

use serde_json::Value;
use threeport::v1::ResourceReference;

use super::release_plan::Revision;
use crate::clients::kubernetes::{Cluster, Result, Scope};
use crate::resource::{CONTROL_PLANE_LABEL, INSTANCE_LABEL, label, reference, uid};
use crate::workload_instance::desired::Owner;

/// On a record: what its revision was made from.
pub const RELEASE_HASH: &str = "threeport.io/release-hash";

/// All that is recorded of a release; nothing if there is none.
pub async fn revisions(cluster: &Cluster, namespace: &str, release: &str, owner: Owner<'_>) -> Result<Vec<Revision>> {
    let resource = cluster.resource_type("v1", "Secret").await?;
    let labels = format!("owner=helm,name={release}");
    let records = cluster.list_metadata(&resource, &Scope { namespace, labels: &labels, fields: "" }).await?;
    Ok(records.iter().map(|record| revision(record, owner)).collect())
}

fn revision(record: &Value, owner: Owner) -> Revision {
    let is_ours = label(record, INSTANCE_LABEL) == owner.instance_id
        && label(record, CONTROL_PLANE_LABEL) == owner.control_plane_id;
    let ResourceReference { namespace, name, .. } = reference(record);
    Revision {
        number: label(record, "version").parse().unwrap_or_default(),
        status: label(record, "status").to_owned(),
        hash: label(record, RELEASE_HASH).to_owned(),
        is_ours,
        record: ResourceReference { api_version: "v1".into(), kind: "Secret".into(), namespace, name },
        uid: uid(record).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_this_instance_has_recorded_is_its_own() {
        let owner = Owner { control_plane_id: "plane", instance_id: "a" };
        let record = |plane: &str, instance: &str| {
            json!({ "metadata": { "name": "sh.helm.release.v1.web.v3", "namespace": "n", "uid": "u", "labels": {
                "version": "3", "status": "deployed", RELEASE_HASH: "h", CONTROL_PLANE_LABEL: plane, INSTANCE_LABEL: instance } } })
        };
        let ours = revision(&record("plane", "a"), owner);
        assert_eq!((ours.number, ours.status.as_str(), ours.hash.as_str(), ours.is_ours), (3, "deployed", "h", true));
        assert!(!revision(&record("plane", "b"), owner).is_ours && !revision(&record("other", "a"), owner).is_ours);
    }
}
