//! What other instances are called, for messages about them.

use threeport::object::Object;
use threeport::v1::{HelmWorkloadInstance, WorkloadInstance};
use threeport_sdk::Client;
use threeport_sdk::client::Filter;
use uuid::Uuid;

/// Asks the API server.
#[derive(Clone, Copy)]
pub struct Names<'a>(pub &'a Client);

impl Names<'_> {
    /// By project and name; by its id if it is of another control plane, or the server can't be asked now.
    pub async fn of(&self, instance_id: &str) -> String {
        let found = match Uuid::try_parse(instance_id) {
            // Anybody may write a label: only an id goes into a filter.
            Ok(id) => match Box::pin(self.find::<WorkloadInstance>(id)).await {
                None => Box::pin(self.find::<HelmWorkloadInstance>(id)).await,
                found => found,
            },
            Err(_) => None,
        };
        found.unwrap_or_else(|| format!("the workload-instance with id `{instance_id}`"))
    }

    async fn find<T: Object>(&self, id: Uuid) -> Option<String> {
        let filter = Filter { filter: format!("id = \"{id}\""), ..Filter::project("-") };
        let page = self.0.list::<T>(&filter, 1, "").await.ok()?;
        let meta = page.items.first()?.meta();
        Some(format!("{} `{}/{}`", T::KIND, meta.project, meta.name))
    }
}
