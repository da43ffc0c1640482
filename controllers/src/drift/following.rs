//! Which kinds of a cluster are followed: all that an inventory there names, whichever replica recorded it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use threeport::v1::InventoryEntry;
use threeport_sdk::client::ControlClient;
use tokio::task::{AbortHandle, JoinSet};

use super::cache::KindKey;
use super::follow::{Subject, follow};
use super::{Watch, locked};

/// Followed even where no inventory names them: a late write may come after the instance and its inventory have gone.
const ALWAYS: &[(&str, &str)] = &[
    ("v1", "Namespace"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
];

/// The followers of one cluster; they end with it.
pub struct Following {
    watch: Arc<Watch>,
    control: ControlClient,
    control_plane_id: String,
    followed: HashMap<KindKey, AbortHandle>,
    followers: JoinSet<()>,
}

impl Following {
    /// Follows what every cluster is watched for.
    pub fn start(watch: Arc<Watch>, control: ControlClient, control_plane_id: String) -> Self {
        let (followed, mut followers) = (HashMap::new(), JoinSet::new());
        let pods = Subject::Pods { control_plane_id: control_plane_id.clone() };
        for subject in [Subject::Autoscalers, pods, Subject::Warnings] {
            followers.spawn(follow(watch.clone(), subject));
        }
        let mut following = Self { watch, control, control_plane_id, followed, followers };
        for (api_version, kind) in ALWAYS {
            following.add(((*api_version).into(), (*kind).into()));
        }
        following
    }

    /// Follows what reconciles of this process have asked for.
    pub fn add_wanted(&mut self) {
        let wanted = locked(&self.watch.suspects).take_wanted_kinds();
        for kind in wanted {
            self.add(kind);
        }
    }

    /// Follows what reconciles of other replicas have recorded, and suspects the instances of what was listed first since.
    pub async fn catch_up(&mut self) -> Result<(), threeport_sdk::Error> {
        let runtime_id = self.watch.cluster.runtime_id().to_owned();
        let named = self.control.list_inventory_kinds(&runtime_id).await?.into_iter().collect::<HashSet<_>>();
        self.end_lost(&named);
        for kind in named {
            self.add(kind);
        }
        let listed = locked(&self.watch.suspects).take_listed_kinds();
        if listed.is_empty() {
            return Ok(());
        }
        match self.control.list_inventory(&runtime_id, &[]).await {
            Ok(entries) => self.watch.suspect(instances_with(&listed, entries), Duration::ZERO),
            Err(error) => {
                let mut suspects = locked(&self.watch.suspects);
                for kind in listed {
                    suspects.listed_first(kind);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: KindKey) {
        if !self.followed.contains_key(&kind) {
            let control_plane_id = self.control_plane_id.clone();
            let subject = Subject::Ours { kind: kind.clone(), control_plane_id };
            let follower = self.followers.spawn(follow(self.watch.clone(), subject));
            self.followed.insert(kind, follower);
        }
    }

    /// Gives up kinds that the cluster doesn't serve and no inventory names: their definitions went with who had them.
    fn end_lost(&mut self, named: &HashSet<KindKey>) {
        while self.followers.try_join_next().is_some() {}
        let always = |kind: &KindKey| ALWAYS.contains(&(kind.0.as_str(), kind.1.as_str()));
        for kind in locked(&self.watch.cache).unserved() {
            if named.contains(&kind) || always(&kind) {
                continue;
            }
            if let Some(follower) = self.followed.remove(&kind) {
                follower.abort();
                locked(&self.watch.cache).note_served(&kind);
            }
        }
    }
}

/// The instances that have, or should have, something of these kinds.
fn instances_with(kinds: &HashSet<KindKey>, entries: Vec<InventoryEntry>) -> BTreeSet<String> {
    let is_of = |entry: &InventoryEntry| {
        entry.resource.as_ref().is_some_and(|found| kinds.contains(&(found.api_version.clone(), found.kind.clone())))
    };
    entries.into_iter().filter(is_of).map(|entry| entry.instance_id).collect()
}

#[cfg(test)]
mod tests {
    use threeport::v1::ResourceReference;

    use super::*;

    #[test]
    fn what_a_first_list_does_not_show_is_missed_by_the_instances_that_recorded_it() {
        let entry = |kind: &str, instance_id: &str| InventoryEntry {
            resource: Some(ResourceReference { api_version: "v1".into(), kind: kind.into(), ..Default::default() }),
            instance_id: instance_id.into(),
            ..Default::default()
        };
        let listed = HashSet::from([("v1".to_owned(), "Service".to_owned())]);
        let entries = vec![entry("Service", "a"), entry("ConfigMap", "b"), entry("Service", "c")];
        assert_eq!(instances_with(&listed, entries), BTreeSet::from(["a".into(), "c".into()]));
    }
}
