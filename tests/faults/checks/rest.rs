//! Liveness: when nothing fails any more, all comes to rest, Ready and settled, within a bounded time.

use std::time::{Duration, Instant};

use serde_json::Value;
use threeport::v1;

use crate::system::{Api, condition, eventually, json_of, when};
use crate::world::World;

const LIMIT: Duration = Duration::from_mins(2);

/// What has neither been done nor given up.
const OPEN: &str = "SELECT (SELECT count(*) FROM work WHERE done <> wanted OR holder IS NOT NULL)
    + (SELECT count(*) FROM unpositioned) + (SELECT count(*) FROM fan_outs)
    + (SELECT count(*) FROM objects WHERE deleted_at IS NOT NULL)";

/// How a control plane came to rest.
pub struct Rest {
    pub took: Duration,
    /// What stood in the way for the longest time.
    pub longest: String,
}

/// Waits until no work is open, every live object is Ready, and nothing that was deleted is left.
pub async fn comes_to_rest(world: &World) -> Rest {
    let started = Instant::now();
    let (mut since, mut seen, mut longest) = (started, String::new(), (Duration::ZERO, String::new()));
    eventually("the control plane comes to rest", LIMIT, async || {
        let looked = look(world).await;
        let now = looked.clone().err().unwrap_or_default();
        if now != seen {
            let before = (since.elapsed(), std::mem::replace(&mut seen, now));
            longest = std::mem::take(&mut longest).max(before);
            since = Instant::now();
        }
        looked
    })
    .await;
    Rest { took: started.elapsed(), longest: format!("{:.1} s for {}", longest.0.as_secs_f64(), longest.1) }
}

async fn look(world: &World) -> Result<(), String> {
    let open = world.database.number(OPEN).await;
    if open > 0 {
        return Err(format!("{open} open: {}", what_is_open(world).await));
    }
    for kind in ["workload", "workload-instance", "kubernetes-runtime-instance"] {
        for object in everywhere(&world.apis[0], kind).await.map_err(|status| status.to_string())? {
            let is_ready = condition(&object, "Ready")["status"] == "True" && object["meta"]["settled"] == true;
            when(is_ready, &object)?;
        }
    }
    Ok(())
}

async fn what_is_open(world: &World) -> String {
    let query =
        "SELECT coalesce(string_agg(concat_ws(' ', o.kind, o.project || '/' || o.name, w.wanted, w.done, w.due_at,
                     w.attempts, w.gave_up, w.holder, o.deleted_at, o.status -> 'conditions'), E'\\n'), 'nothing')
                 FROM objects o LEFT JOIN work w ON w.object_id = o.id
                 WHERE o.deleted_at IS NOT NULL OR w.done <> w.wanted OR w.holder IS NOT NULL";
    world.database.text(query).await
}

/// All objects of a kind, of all projects.
pub async fn everywhere(api: &Api, kind: &str) -> Result<Vec<Value>, tonic::Status> {
    let request =
        v1::ListObjectsRequest { kind: kind.into(), project: "-".into(), page_size: 1000, ..Default::default() };
    let page = api.client.clone().list(request).await?.into_inner();
    Ok(page.items.into_iter().map(json_of).collect())
}
