//! What workload instances have in clusters: entries noted before the cluster is touched, removed once proved gone.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_postgres::Transaction;
use threeport::v1::{InventoryEntry, ListInventoryRequest, ListInventoryResponse, ResourceReference};
use tokio_postgres::Row;
use uuid::Uuid;

use super::Store;
use super::work::{Caller, parse_id};
use crate::error::{Error, Result};

const COLUMNS: &str = "instance_id, runtime_id, api_version, kind, namespace, name, uid, applied_hash, managed_hash, \
     retained, observed, health, repairs";
/// Pages of a listing.
const PAGE: (i64, i64) = (1000, 5000);

/// The entries of each instance, by resource.
pub async fn of_instances(tx: &Transaction<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, Vec<InventoryEntry>>> {
    let statement = tx
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM inventory WHERE instance_id = ANY($1)
             ORDER BY instance_id, runtime_id, api_version, kind, namespace, name"
        ))
        .await?;
    let mut found: HashMap<Uuid, Vec<InventoryEntry>> = HashMap::new();
    for row in &tx.query(&statement, &[&ids]).await? {
        found.entry(row.get("instance_id")).or_default().push(entry(row));
    }
    Ok(found)
}

fn entry(row: &Row) -> InventoryEntry {
    InventoryEntry {
        resource: Some(ResourceReference {
            api_version: row.get("api_version"),
            kind: row.get("kind"),
            namespace: row.get("namespace"),
            name: row.get("name"),
        }),
        uid: row.get("uid"),
        applied_hash: row.get("applied_hash"),
        managed_hash: row.get("managed_hash"),
        retained: row.get("retained"),
        observed: row.get("observed"),
        runtime_id: row.get::<_, Uuid>("runtime_id").to_string(),
        instance_id: row.get::<_, Uuid>("instance_id").to_string(),
        health: row.get("health"),
        repairs: row.get("repairs"),
    }
}

/// Entries of one instance on one runtime to add, replace or remove.
#[derive(Clone, Debug, Default)]
pub struct InventoryWrite {
    pub runtime: Option<Uuid>,
    pub entries: Vec<InventoryEntry>,
    pub removed: Vec<ResourceReference>,
}

impl InventoryWrite {
    /// Checks what a request says.
    pub fn parse(runtime_id: &str, entries: Vec<InventoryEntry>, removed: Vec<ResourceReference>) -> Result<Self> {
        if entries.is_empty() && removed.is_empty() {
            return Ok(Self::default());
        }
        let runtime = Some(parse_id("runtime_id", runtime_id)?);
        if entries.iter().any(|entry| entry.resource.is_none()) {
            return Err(Error::invalid("entries.resource", "must name the resource"));
        }
        Ok(Self { runtime, entries, removed })
    }

    /// Writes the entries of `instance`: what is removed first, so that an entry named in both stays.
    pub async fn store(&self, tx: &Transaction<'_>, instance: Uuid) -> Result<()> {
        let Some(runtime) = self.runtime else { return Ok(()) };
        self.remove(tx, instance, runtime).await?;
        self.upsert(tx, instance, runtime).await
    }

    async fn remove(&self, tx: &Transaction<'_>, instance: Uuid, runtime: Uuid) -> Result<()> {
        if self.removed.is_empty() {
            return Ok(());
        }
        let keys = Keys::of(self.removed.iter());
        let statement = tx
            .prepare_cached(
                "DELETE FROM inventory i USING UNNEST($3::text[], $4::text[], $5::text[], $6::text[])
                     AS r (api_version, kind, namespace, name)
                 WHERE i.instance_id = $1 AND i.runtime_id = $2 AND i.api_version = r.api_version AND i.kind = r.kind
                   AND i.namespace = r.namespace AND i.name = r.name",
            )
            .await?;
        tx.execute(&statement, &[&instance, &runtime, &keys.api_versions, &keys.kinds, &keys.namespaces, &keys.names])
            .await?;
        Ok(())
    }

    async fn upsert(&self, tx: &Transaction<'_>, instance: Uuid, runtime: Uuid) -> Result<()> {
        // One statement can't touch a row twice: of entries for one resource the last counts.
        let mut last: BTreeMap<ResourceKey, &InventoryEntry> = BTreeMap::new();
        for entry in &self.entries {
            last.extend(entry.resource.as_ref().map(|resource| (key_of(resource), entry)));
        }
        if last.is_empty() {
            return Ok(());
        }
        let entries = last.into_values().collect::<Vec<_>>();
        let keys = Keys::of(entries.iter().filter_map(|entry| entry.resource.as_ref()));
        let texts = |of: fn(&InventoryEntry) -> &str| entries.iter().map(|entry| of(entry)).collect::<Vec<_>>();
        let flags = |of: fn(&InventoryEntry) -> bool| entries.iter().map(|entry| of(entry)).collect::<Vec<_>>();
        let statement = tx.prepare_cached(UPSERT).await?;
        tx.execute(
            &statement,
            &[
                &instance,
                &runtime,
                &keys.api_versions,
                &keys.kinds,
                &keys.namespaces,
                &keys.names,
                &texts(|entry| &entry.uid),
                &texts(|entry| &entry.applied_hash),
                &texts(|entry| &entry.managed_hash),
                &flags(|entry| entry.retained),
                &flags(|entry| entry.observed),
                &texts(|entry| &entry.health),
                &texts(|entry| &entry.repairs),
            ],
        )
        .await?;
        Ok(())
    }
}

const UPSERT: &str = "INSERT INTO inventory AS i (instance_id, runtime_id, api_version, kind, namespace, name, uid,
         applied_hash, managed_hash, retained, observed, health, repairs)
     SELECT $1, $2, e.* FROM UNNEST($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
         $10::boolean[], $11::boolean[], $12::text[], $13::text[]) AS e
     ON CONFLICT (instance_id, runtime_id, api_version, kind, namespace, name) DO UPDATE
     SET uid = excluded.uid, applied_hash = excluded.applied_hash, managed_hash = excluded.managed_hash,
         retained = excluded.retained, observed = excluded.observed, health = excluded.health, repairs = excluded.repairs
     WHERE (i.uid, i.applied_hash, i.managed_hash, i.retained, i.observed, i.health, i.repairs)
        <> (excluded.uid, excluded.applied_hash, excluded.managed_hash, excluded.retained, excluded.observed,
            excluded.health, excluded.repairs)";

type ResourceKey = (String, String, String, String);

fn key_of(resource: &ResourceReference) -> ResourceKey {
    let ResourceReference { api_version, kind, namespace, name } = resource.clone();
    (api_version, kind, namespace, name)
}

/// Resources in columns.
#[derive(Default)]
struct Keys<'a> {
    api_versions: Vec<&'a str>,
    kinds: Vec<&'a str>,
    namespaces: Vec<&'a str>,
    names: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    fn of(resources: impl Iterator<Item = &'a ResourceReference>) -> Self {
        let mut keys = Keys::default();
        for resource in resources {
            keys.api_versions.push(&resource.api_version);
            keys.kinds.push(&resource.kind);
            keys.namespaces.push(&resource.namespace);
            keys.names.push(&resource.name);
        }
        keys
    }
}

impl Store {
    /// Lists what workload instances have on a runtime, page by page.
    pub async fn list_inventory(
        &self,
        request: ListInventoryRequest,
        caller: Caller<'_>,
    ) -> Result<ListInventoryResponse> {
        caller.check_workloads()?;
        let runtime = parse_id("runtime_id", &request.runtime_id)?;
        let instances =
            request.instance_ids.iter().map(|id| parse_id("instance_ids", id)).collect::<Result<Vec<_>>>()?;
        let instances = (!instances.is_empty()).then_some(instances);
        if request.kinds_only {
            return self.list_inventory_kinds(runtime, instances.as_deref()).await;
        }
        let limit = if request.page_size <= 0 { PAGE.0 } else { i64::from(request.page_size).min(PAGE.1) };
        let (after, [api_version, kind, namespace, name]) = parse_token(&request.page_token)?;
        let connection = self.pool.get().await?;
        let statement = connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM inventory
                 WHERE runtime_id = $1 AND ($2::uuid[] IS NULL OR instance_id = ANY($2))
                   AND (instance_id, api_version, kind, namespace, name) > ($3, $4, $5, $6, $7)
                 ORDER BY instance_id, api_version, kind, namespace, name LIMIT $8"
            ))
            .await?;
        let rows = connection
            .query(&statement, &[&runtime, &instances, &after, &api_version, &kind, &namespace, &name, &limit])
            .await?;
        let entries = rows.iter().map(entry).collect::<Vec<_>>();
        let is_full = i64::try_from(entries.len()).unwrap_or(i64::MAX) == limit;
        let next_page_token = entries.last().filter(|_| is_full).map(token).unwrap_or_default();
        Ok(ListInventoryResponse { entries, next_page_token })
    }

    /// Each kind of which instances have something on the runtime.
    async fn list_inventory_kinds(&self, runtime: Uuid, instances: Option<&[Uuid]>) -> Result<ListInventoryResponse> {
        let connection = self.pool.get().await?;
        let statement = connection
            .prepare_cached(
                "SELECT DISTINCT api_version, kind FROM inventory
                 WHERE runtime_id = $1 AND ($2::uuid[] IS NULL OR instance_id = ANY($2))",
            )
            .await?;
        let rows = connection.query(&statement, &[&runtime, &instances]).await?;
        let resource = |row: &Row| ResourceReference {
            api_version: row.get("api_version"),
            kind: row.get("kind"),
            ..Default::default()
        };
        let entry = |row: &Row| InventoryEntry { resource: Some(resource(row)), ..Default::default() };
        Ok(ListInventoryResponse { entries: rows.iter().map(entry).collect(), next_page_token: String::new() })
    }
}

fn token(entry: &InventoryEntry) -> String {
    let key = key_of(entry.resource.as_ref().unwrap_or(&ResourceReference::default()));
    URL_SAFE_NO_PAD.encode([entry.instance_id.as_str(), &key.0, &key.1, &key.2, &key.3].join("\n"))
}

/// The last entry of the page before.
fn parse_token(token: &str) -> Result<(Uuid, [String; 4])> {
    if token.is_empty() {
        return Ok((Uuid::nil(), Default::default()));
    }
    let invalid = || Error::invalid("page_token", "is not of this listing; start from the first page");
    let text =
        URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    if text.contains('\0') {
        return Err(invalid());
    }
    let parts = text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let [id, api_version, kind, namespace, name] = <[String; 5]>::try_from(parts).map_err(|_| invalid())?;
    Ok((Uuid::parse_str(&id).map_err(|_| invalid())?, [api_version, kind, namespace, name]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_leads_behind_its_entry() {
        let resource = ResourceReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            namespace: String::new(),
            name: "a".into(),
        };
        let id = Uuid::now_v7();
        let entry = InventoryEntry { resource: Some(resource), instance_id: id.to_string(), ..Default::default() };
        let (instance, key) = parse_token(&token(&entry)).unwrap();
        assert_eq!((instance, key), (id, ["v1".into(), "Node".into(), String::new(), "a".into()]));
        let forged = URL_SAFE_NO_PAD.encode(format!("{id}\nv1\nNode\n\na\0"));
        assert_eq!(parse_token(&forged).unwrap_err().reason(), "Invalid");
        assert_eq!(parse_token("nonsense").unwrap_err().reason(), "Invalid");
    }
}
