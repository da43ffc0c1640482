//! What there was before a run: the cluster, the rows of what exists, the end of the log. After it all is so again.

use std::collections::BTreeMap;

use super::cluster::{Contents, contents, nothing_else};
use crate::system::{MINUTE, eventually, when};
use crate::world::World;

/// Tables that hold the present. The others hold history, or age by themselves.
const TABLES: [&str; 9] = [
    "objects",
    "object_refs",
    "work",
    "fan_outs",
    "unpositioned",
    "inventory",
    "shared_resources",
    "shared_resource_users",
    "pinned_generations",
];

pub struct Before {
    /// The end of the log.
    pub position: i64,
    cluster: Contents,
    rows: BTreeMap<&'static str, i64>,
}

impl Before {
    pub async fn note(world: &World) -> Self {
        Self {
            position: world.database.number("SELECT max(position) FROM positions").await,
            cluster: contents(&world.ground.kubernetes.cluster).await,
            rows: rows(world).await,
        }
    }

    /// Waits until all is as it was.
    pub async fn is_again(&self, world: &World) {
        eventually("the cluster is as it was before", MINUTE, async || {
            nothing_else(&self.cluster, &contents(&world.ground.kubernetes.cluster).await)
        })
        .await;
        eventually("the tables have as many rows as before", MINUTE, async || {
            let now = rows(world).await;
            when(now == self.rows, format!("{now:?} instead of {:?}", self.rows))
        })
        .await;
    }
}

async fn rows(world: &World) -> BTreeMap<&'static str, i64> {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        rows.insert(table, world.database.number(&format!("SELECT count(*) FROM {table}")).await);
    }
    rows
}
