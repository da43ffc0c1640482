//! Kinds registered at run time: read from their `ObjectKind` objects, and kept in step with what other servers write.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use threeport::kind::Kind;
use threeport::object::Object;
use threeport::v1;
use tokio_util::sync::CancellationToken;

use super::{Row, Store, Visibility, statement};
use crate::error::{Chain, Error, Result};

/// How often a server looks whether another one has written a kind.
const INTERVAL: Duration = Duration::from_secs(1);

/// Differs when any `ObjectKind` was written or removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signature {
    count: i64,
    revisions: i64,
    newest: Option<SystemTime>,
}

impl Store {
    /// The kind of this name, plural or alias.
    pub async fn kind(&self, name: &str) -> Result<Arc<Kind>> {
        if let Some(kind) = self.registry().find(name) {
            return Ok(Arc::clone(kind));
        }
        // Another server may have registered it a moment ago.
        self.refresh_kinds().await?;
        self.registry().find(name).cloned().ok_or_else(|| Error::UnknownKind(name.to_owned()))
    }

    /// The `ObjectKind` objects that say which kinds are registered at run time.
    pub async fn kinds_stored(&self) -> Result<Vec<v1::ObjectKind>> {
        let connection = self.pool.get().await?;
        self.kinds_with(&connection, Vec::new()).await
    }

    /// Reads the kinds again if any was written since, by whichever server.
    pub async fn refresh_kinds(&self) -> Result<()> {
        let signature = self.kinds_signature().await?;
        if signature == **self.kinds_read.load() {
            return Ok(());
        }
        let (registry, wrong) = crate::kinds::registry_of_sound(&self.kinds_stored().await?);
        for cause in wrong {
            tracing::error!(cause, "a stored kind does not go with the others; its objects are out of reach");
        }
        self.registry.store(Arc::new(registry));
        self.kinds_read.store(Arc::new(signature));
        Ok(())
    }

    /// Keeps the kinds in step with other servers until `shutdown`.
    pub async fn follow_kinds(&self, shutdown: CancellationToken) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = interval.tick() => {
                    if let Err(error) = self.refresh_kinds().await {
                        tracing::warn!(cause = %Chain(&error), "kinds can't be read again; keeping those in force");
                    }
                }
            }
        }
    }

    /// A typed `ObjectKind` of its row.
    pub fn object_kind(&self, row: &Row) -> Result<v1::ObjectKind> {
        let object = self.object(row, None, true, Visibility::Redacted)?;
        v1::ObjectKind::from_erased(object)
            .map_err(|error| Error::Corrupt(format!("object-kind {}: {error}", row.name)))
    }

    async fn kinds_signature(&self) -> Result<Signature> {
        let connection = self.pool.get().await?;
        let row = statement::query_one(
            &connection,
            "SELECT count(*), coalesce(sum(revision), 0)::bigint AS revisions, max(updated_at) AS newest
             FROM objects WHERE kind = 'object-kind'",
            &[],
        )
        .await?;
        Ok(Signature { count: row.get("count"), revisions: row.get("revisions"), newest: row.get("newest") })
    }
}
