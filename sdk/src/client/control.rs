//! The control service: what controllers need beyond objects.

use std::time::Duration;

use threeport::{failpoint, v1};

use super::Client;
use super::call::Retry;
use crate::Error;

/// Calls the control service with a controller's token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlClient {
    client: Client,
}

impl From<Client> for ControlClient {
    fn from(client: Client) -> Self {
        Self { client }
    }
}

impl ControlClient {
    /// The same connection, for objects.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Registers a replica or extends its lease. Tried once, within `limit`: whoever renews knows when it is too late.
    pub async fn renew(&self, request: v1::RenewRequest, limit: Duration) -> Result<v1::RenewResponse, Error> {
        let send = async |request| self.client.control_service().renew(request).await;
        self.client.call_within("Renew", limit, Retry::Never, request, send).await
    }

    /// Takes leases. Tried once: after a failure the caller can't know what it holds.
    pub async fn begin(&self, request: v1::BeginRequest, limit: Duration) -> Result<v1::BeginResponse, Error> {
        let send = async |request| {
            let answer = self.client.control_service().begin(request).await?;
            failpoint::pass("begin.after").await?;
            Ok(answer)
        };
        self.client.call_within("Begin", limit, Retry::Never, request, send).await
    }

    /// Notes what is about to be made. Safe to repeat: entries are keyed by resource.
    pub async fn record(&self, request: v1::RecordRequest) -> Result<v1::RecordResponse, Error> {
        self.client.call("Record", request, async |request| self.client.control_service().record(request).await).await
    }

    /// Ends reconciles. A repetition of what was stored answers `accepted: false`.
    pub async fn finish(&self, request: v1::FinishRequest) -> Result<v1::FinishResponse, Error> {
        let send = async |request| {
            failpoint::pass("finish.before").await?;
            let answer = self.client.control_service().finish(request).await?;
            failpoint::pass("finish.after").await?;
            Ok(answer)
        };
        self.client.call("Finish", request, send).await
    }

    /// Makes objects due because the world changed.
    pub async fn wake(&self, items: Vec<v1::WakeItem>) -> Result<i32, Error> {
        let request = v1::WakeRequest { items };
        let send = async |request| self.client.control_service().wake(request).await;
        Ok(self.client.call("Wake", request, send).await?.woken)
    }

    /// Lists what is due and held by nobody.
    pub async fn sweep(&self, request: v1::SweepRequest) -> Result<Vec<v1::BeginItem>, Error> {
        let send = async |request| self.client.control_service().sweep(request).await;
        Ok(self.client.call("Sweep", request, send).await?.items)
    }

    /// Takes, extends or releases a named lease.
    pub async fn acquire_lease(&self, request: v1::AcquireLeaseRequest) -> Result<v1::AcquireLeaseResponse, Error> {
        let send = async |request| self.client.control_service().acquire_lease(request).await;
        self.client.call("AcquireLease", request, send).await
    }

    /// Lists what all, or some, instances have on a runtime: every page.
    pub async fn list_inventory(
        &self,
        runtime_id: &str,
        instance_ids: &[String],
    ) -> Result<Vec<v1::InventoryEntry>, Error> {
        let mut entries = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListInventoryRequest {
                runtime_id: runtime_id.into(),
                instance_ids: instance_ids.to_vec(),
                page_size: 1000,
                page_token,
                kinds_only: false,
            };
            let send = async |request| self.client.control_service().list_inventory(request).await;
            let mut page = self.client.call("ListInventory", request, send).await?;
            entries.append(&mut page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// Of which kinds, as (`api_version`, `kind`), instances have anything on a runtime.
    pub async fn list_inventory_kinds(&self, runtime_id: &str) -> Result<Vec<(String, String)>, Error> {
        let request =
            v1::ListInventoryRequest { runtime_id: runtime_id.into(), kinds_only: true, ..Default::default() };
        let send = async |request| self.client.control_service().list_inventory(request).await;
        let entries = self.client.call("ListInventory", request, send).await?.entries;
        Ok(entries
            .into_iter()
            .filter_map(|entry| entry.resource)
            .map(|found| (found.api_version, found.kind))
            .collect())
    }

    /// Which of the ids are those of deleted objects.
    pub async fn check_tombstones(&self, ids: Vec<String>) -> Result<Vec<String>, Error> {
        let request = v1::CheckTombstonesRequest { ids };
        let send = async |request| self.client.control_service().check_tombstones(request).await;
        Ok(self.client.call("CheckTombstones", request, send).await?.tombstoned)
    }
}
