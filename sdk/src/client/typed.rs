//! The same calls on typed objects.

use threeport::object::Object;
use threeport::v1;

use super::{ApplyOptions, Client, DeleteOptions, WriteOptions};
use crate::Error;

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The project; `-` for all that the caller may see; empty for kinds in no project.
    pub project: String,
    /// Comparisons joined by AND: `labels.tier = "dev"`.
    pub filter: String,
    /// `name` (default), `created_at` or `updated_at`, each with an optional ` desc`.
    pub order_by: String,
}

impl Filter {
    /// All objects of a project.
    pub fn project(project: &str) -> Self {
        Self { project: project.into(), ..Self::default() }
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Asks for the next page; empty on the last.
    pub next_page_token: String,
    /// The log's position in the snapshot of the first page.
    pub position: i64,
}

/// A whole list.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Watch from here.
    pub position: i64,
}

/// What an apply did.
#[derive(Clone, Debug)]
pub struct Applied<T> {
    /// As stored.
    pub object: T,
    /// `created`, `updated` or `unchanged`.
    pub outcome: String,
    pub differences: Vec<v1::Difference>,
    pub warnings: Vec<String>,
}

impl Client {
    /// Gets one object.
    pub async fn get<T: Object>(&self, project: &str, name: &str) -> Result<T, Error> {
        typed(self.get_erased(T::KIND, project, name).await?)
    }

    /// One page; `page_size` 0 is the server's default, an empty token the first page.
    pub async fn list<T: Object>(&self, filter: &Filter, page_size: i32, page_token: &str) -> Result<Page<T>, Error> {
        let mut request = list_request::<T>(filter);
        request.page_size = page_size;
        request.page_token = page_token.into();
        let page = self.list_erased(request).await?;
        let items = page.items.into_iter().map(typed).collect::<Result<_, _>>()?;
        Ok(Page { items, next_page_token: page.next_page_token, position: page.position })
    }

    /// All objects that pass the filter.
    pub async fn list_all<T: Object>(&self, filter: &Filter) -> Result<Listing<T>, Error> {
        let all = self.list_all_erased(list_request::<T>(filter)).await?;
        let items = all.items.into_iter().map(typed).collect::<Result<_, _>>()?;
        Ok(Listing { items, position: all.position })
    }

    /// Creates an object; refused if it exists.
    pub async fn create<T: Object>(&self, object: &T) -> Result<T, Error> {
        typed(self.create_erased(object.to_erased(), WriteOptions::default()).await?)
    }

    /// Changes what the mask names: paths below the object, such as `spec.paused`.
    pub async fn update<T: Object>(&self, object: &T, mask: &[&str]) -> Result<T, Error> {
        typed(self.update_erased(object.to_erased(), mask, WriteOptions::default()).await?)
    }

    /// Creates or replaces an object; absent spec fields take their defaults.
    pub async fn apply<T: Object>(&self, object: &T) -> Result<Applied<T>, Error> {
        let results = self.apply_many(vec![object.to_erased()], ApplyOptions::default()).await?;
        let missing = || malformed::<T>(&object.meta().name, "the answer is empty".into());
        let result = results.into_iter().next().ok_or_else(missing)?;
        Ok(Applied {
            object: typed(result.object.ok_or_else(missing)?)?,
            outcome: result.outcome,
            differences: result.differences,
            warnings: result.warnings,
        })
    }

    /// Asks for the deletion of an object and all that it owns.
    pub async fn delete<T: Object>(&self, project: &str, name: &str) -> Result<v1::DeleteResponse, Error> {
        self.delete_erased(T::KIND, project, name, DeleteOptions::default()).await
    }
}

fn list_request<T: Object>(filter: &Filter) -> v1::ListObjectsRequest {
    v1::ListObjectsRequest {
        kind: T::KIND.into(),
        project: filter.project.clone(),
        filter: filter.filter.clone(),
        order_by: filter.order_by.clone(),
        ..Default::default()
    }
}

/// Gives an object its type.
pub fn typed<T: Object>(object: v1::Object) -> Result<T, Error> {
    let name = object.meta.as_ref().map(|meta| meta.name.clone()).unwrap_or_default();
    T::from_erased(object).map_err(|error| malformed::<T>(&name, error.to_string()))
}

fn malformed<T: Object>(name: &str, message: String) -> Error {
    Error::Malformed { kind: T::KIND.into(), name: name.into(), message }
}
