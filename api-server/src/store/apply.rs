//! The writes that users ask for: apply, create, update. One transaction each, all or nothing.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures::FutureExt;
use threeport::object::Object;
use threeport::registry::Registry;
use threeport::v1;

use super::admit::{Admitted, Author, Mode, admit};
use super::plan::Plan;
use super::requests::Ticket;
use super::{Cause, Effects, Store, effects};
use crate::error::{Error, Result};

/// How a write of one object is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Does everything and rolls back.
    pub validate_only: bool,
    /// Empty: none.
    pub request_id: String,
}

/// A write, as often as its transaction has to be run.
struct Job {
    store: Store,
    registry: Arc<Registry>,
    admitted: Admitted,
    ticket: Ticket,
    cause: Cause,
    commits: bool,
}

impl Store {
    /// Creates or replaces any number of objects, all or none.
    pub async fn apply(&self, request: v1::ApplyRequest, cause: &Cause) -> Result<v1::ApplyResponse> {
        let options = WriteOptions { validate_only: request.validate_only, request_id: request.request_id.clone() };
        if request.reason.contains('\0') {
            return Err(Error::invalid("reason", "must not contain a NUL character"));
        }
        let mut cause = cause.clone();
        if !request.reason.is_empty() {
            cause.reason.clone_from(&request.reason);
        }
        self.write_objects(request, Mode::Apply, &options, &cause).await
    }

    /// Creates one object; refused if it exists.
    pub async fn create(&self, object: v1::Object, options: WriteOptions, cause: &Cause) -> Result<v1::Object> {
        let request = v1::ApplyRequest { objects: vec![object], ..Default::default() };
        only(self.write_objects(request, Mode::Create, &options, cause).await?)
    }

    /// Changes the fields of one object that the mask names.
    pub async fn update(
        &self,
        object: v1::Object,
        mask: &[String],
        options: WriteOptions,
        cause: &Cause,
    ) -> Result<v1::Object> {
        let request = v1::ApplyRequest { objects: vec![object], ..Default::default() };
        only(self.write_objects(request, Mode::Update(mask.to_vec()), &options, cause).await?)
    }

    async fn write_objects(
        &self,
        mut request: v1::ApplyRequest,
        mode: Mode,
        options: &WriteOptions,
        cause: &Cause,
    ) -> Result<v1::ApplyResponse> {
        let commits = !options.validate_only;
        let request_id = if commits { options.request_id.as_str() } else { "" };
        let ticket = Ticket::new(&self.secrets, cause, request_id, &format!("{mode:?}"), &request)?;
        let registry = self.registry_for(&request.objects).await?;
        let admitted = admit(&registry, std::mem::take(&mut request.objects), &mode, &Author::User)?;
        let writes_kinds = admitted.inputs.iter().any(|input| input.kind.name == v1::ObjectKind::KIND);
        let job = Arc::new(Job { store: self.clone(), registry, admitted, ticket, cause: cause.clone(), commits });
        let response = self
            .transact(commits, |tx| {
                let job = Arc::clone(&job);
                async move { job.run(tx).await }.boxed()
            })
            .await?;
        if commits && writes_kinds {
            self.refresh_kinds().await?;
            self.back_fill_work().await?;
        }
        Ok(response)
    }

    /// The kinds in force and those that the request itself registers.
    async fn registry_for(&self, objects: &[v1::Object]) -> Result<Arc<Registry>> {
        if objects.iter().any(|object| self.registry().find(&object.kind).is_none()) {
            // Another server may have registered it a moment ago.
            self.refresh_kinds().await?;
        }
        let registry = self.registry();
        let is_kind =
            |object: &&v1::Object| registry.find(&object.kind).is_some_and(|kind| kind.name == v1::ObjectKind::KIND);
        let new = objects.iter().filter(is_kind).filter_map(|object| v1::ObjectKind::from_erased(object.clone()).ok());
        let new = new.collect::<Vec<_>>();
        if new.is_empty() {
            return Ok(registry);
        }
        let connection = self.pool.get().await?;
        let kinds = self.kinds_with(&connection, new).await?;
        // What is wrong with a kind is said where it is written.
        Ok(crate::kinds::registry_with(&kinds).map_or(registry, Arc::new))
    }
}

/// The one object of a response to a write of one.
fn only(response: v1::ApplyResponse) -> Result<v1::Object> {
    let result = response.results.into_iter().next();
    result.and_then(|result| result.object).ok_or_else(|| Error::Corrupt("a write without a result".into()))
}

impl Job {
    async fn run(&self, tx: &Transaction<'_>) -> Result<v1::ApplyResponse> {
        if let Some(answer) = self.ticket.recall(tx).await? {
            return Ok(answer);
        }
        let mut plan = Plan::new(&self.store, tx, Arc::clone(&self.registry));
        let mut effects = Effects::default();
        plan.add(self.admitted.clone()).await?;
        let kinds = plan.check_kinds().await?;
        let targets = plan.resolve().await?;
        plan.check_uses(&targets).await?;
        plan.verdict()?;
        let (users, rows) = tokio::try_join!(plan.users_of_changed(), plan.store(&targets, &mut effects))?;
        plan.store_controllers(kinds.as_ref()).await?;
        plan.warn_of_misfits(&users)?;
        if self.commits && !effects.is_empty() {
            effects::settle(tx, &self.cause, effects).await?;
        }
        let response = v1::ApplyResponse { results: plan.results(&self.admitted.inputs, &rows).await? };
        self.ticket.remember(tx, &response).await?;
        Ok(response)
    }
}
