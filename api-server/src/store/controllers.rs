//! Which controllers serve which kinds, and the work rows that follow from it.

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::kind::Controller;
use threeport::registry::Registry;
use uuid::Uuid;

use super::{Cause, Effects, Store, delete, effects, statement};
use crate::error::Result;

/// Work rows that one transaction adds.
const BATCH: i64 = 500;

impl Store {
    /// Writes the controllers of our own kinds and lets the work rows follow. Those of kinds registered at run time are
    /// written with their `ObjectKind`.
    pub async fn seed_controllers(&self) -> Result<()> {
        let mut connection = self.pool.get().await?;
        let tx = connection.transaction().await?;
        let built_in = Registry::built_in();
        for kind in built_in.kinds() {
            write_controllers(&tx, &kind.name, &kind.controllers).await?;
        }
        let names = built_in.kinds().map(|kind| kind.name.clone()).collect::<Vec<_>>();
        statement::execute(
            &tx,
            "DELETE FROM controllers c WHERE c.kind <> ALL($1)
             AND NOT EXISTS (SELECT 1 FROM objects o WHERE o.kind = 'object-kind' AND o.name = c.kind)",
            &[&names],
        )
        .await?;
        tx.commit().await?;
        drop(connection);
        self.back_fill_work().await
    }

    /// Adds the work rows that objects lack and drops those of controllers that are no more, in batches. Repeating it is
    /// harmless, so that a server that dies in between leaves nothing undone for the next one.
    pub async fn back_fill_work(&self) -> Result<()> {
        while self.write(|tx| add_missing(tx).boxed()).await? > 0 {}
        while self.write(|tx| drop_superfluous(tx).boxed()).await? > 0 {}
        Ok(())
    }
}

/// Makes `controllers` the ones of a kind; none removes them.
pub async fn write_controllers(tx: &Transaction<'_>, kind: &str, controllers: &[Controller]) -> Result<()> {
    let names = controllers.iter().map(|controller| controller.name.clone()).collect::<Vec<_>>();
    statement::execute(tx, "DELETE FROM controllers WHERE kind = $1 AND name <> ALL($2)", &[&kind, &names]).await?;
    for controller in controllers {
        statement::execute(
            tx,
            "INSERT INTO controllers (kind, name, owns) VALUES ($1, $2, $3)
             ON CONFLICT (kind, name) DO UPDATE SET owns = excluded.owns WHERE controllers.owns <> excluded.owns",
            &[&kind, &controller.name, &controller.owns],
        )
        .await?;
    }
    Ok(())
}

async fn add_missing(tx: &Transaction<'_>) -> Result<u64> {
    statement::execute(
        tx,
        "INSERT INTO work (object_id, controller, kind, due_at)
         SELECT o.id, c.name, o.kind, now() FROM controllers c JOIN objects o ON o.kind = c.kind
         WHERE NOT EXISTS (SELECT 1 FROM work w WHERE w.object_id = o.id AND w.controller = c.name)
         ORDER BY o.id LIMIT $1 ON CONFLICT DO NOTHING",
        &[&BATCH],
    )
    .await
}

/// Objects whose deletion waited for a controller that is no more can go.
async fn drop_superfluous(tx: &Transaction<'_>) -> Result<u64> {
    let rows = statement::query(
        tx,
        "DELETE FROM work w USING (
             SELECT w.object_id, w.controller FROM work w
             WHERE NOT EXISTS (SELECT 1 FROM controllers c WHERE c.kind = w.kind AND c.name = w.controller)
             ORDER BY w.object_id LIMIT $1 FOR UPDATE
         ) gone JOIN objects o ON o.id = gone.object_id
         WHERE w.object_id = gone.object_id AND w.controller = gone.controller
         RETURNING w.object_id, o.deleted_at IS NOT NULL AS is_deleting",
        &[&BATCH],
    )
    .await?;
    let deleting = rows.iter().filter(|row| row.get("is_deleting")).map(|row| row.get::<_, Uuid>("object_id"));
    let mut effects = Effects::default();
    delete::collect(tx, deleting.collect(), &mut effects).await?;
    let cause = Cause { actor: "system".into(), reason: "controller removed".into(), ..Cause::default() };
    effects::settle(tx, &cause, effects).await?;
    Ok(rows.len() as u64)
}
