//! Starts the watches of a new process without waiting for each runtime's next look.

use std::time::Duration;

use threeport::object::Object;
use threeport::v1::KubernetesRuntimeInstance;
use threeport_sdk::Client;
use threeport_sdk::client::{ControlClient, Filter};

use super::holder::runtime_item;

/// No more than the server wakes at once.
const BATCH: usize = 500;
const AGAIN: Duration = Duration::from_secs(1);

/// Wakes every runtime once. Credentials reach a process only with a reconcile, and so do watches.
pub async fn wake_runtimes(client: Client) {
    while let Err(error) = wake_all(&client).await {
        tracing::debug!(%error, "the runtimes can't be woken yet");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn wake_all(client: &Client) -> Result<(), threeport_sdk::Error> {
    let runtimes = client.list_all::<KubernetesRuntimeInstance>(&Filter::project("-")).await?.items;
    let control = ControlClient::from(client.clone());
    for some in runtimes.chunks(BATCH) {
        control.wake(some.iter().map(|runtime| runtime_item(&runtime.meta().id)).collect()).await?;
    }
    Ok(())
}
