//! The objects that a controller declares as its own: written in the transaction of its Finish, by the rules of any write.

use deadpool_postgres::Transaction;
use threeport::v1;
use uuid::Uuid;

use super::admit::{Author, Mode, admit};
use super::plan::Plan;
use super::{Effects, Row, Store, delete, statement};
use crate::error::Result;

impl Store {
    /// Makes `objects` the complete set that `controller` owns under `owner`; what is missing is asked to go.
    pub async fn write_children(
        &self,
        tx: &Transaction<'_>,
        owner: &Row,
        controller: &str,
        mut objects: Vec<v1::Object>,
        effects: &mut Effects,
    ) -> Result<()> {
        for object in &mut objects {
            let meta = object.meta.get_or_insert_default();
            if meta.project.is_empty() {
                meta.project.clone_from(&owner.project);
            }
            // They come as their controller last saw them; it declares, and doesn't race itself.
            meta.revision = 0;
            meta.etag.clear();
        }
        let author = Author::Controller(owner.id, controller.to_owned());
        let admitted = admit(&self.registry(), objects, &Mode::Apply, &author)?;
        let mut plan = Plan::new(self, tx, self.registry());
        plan.add(admitted).await?;
        let targets = plan.resolve().await?;
        plan.check_uses(&targets).await?;
        plan.verdict()?;
        let kept = plan.drafts.iter().map(|draft| draft.id).collect::<Vec<_>>();
        let missing = missing(tx, owner.id, controller, &kept).await?;
        plan.store(&targets, effects).await?;
        let closure = delete::lock_closure(tx, &missing).await?;
        delete::refuse_if_used(tx, &closure).await?;
        delete::mark(tx, &closure, owner.delete_data, effects).await
    }
}

async fn missing(tx: &Transaction<'_>, owner: Uuid, controller: &str, kept: &[Uuid]) -> Result<Vec<Uuid>> {
    let sql = "SELECT id FROM objects WHERE owner_id = $1 AND owner_controller = $2 AND id <> ALL($3)
               AND deleted_at IS NULL ORDER BY id";
    Ok(statement::query(tx, sql, &[&owner, &controller, &kept]).await?.iter().map(|row| row.get("id")).collect())
}
