//! Calls on objects of any kind, as JSON behind a common envelope.

use prost_reflect::DescriptorPool;
use threeport::kind::{Controller, Kind};
use threeport::registry::Registry;
use threeport::v1;
use uuid::Uuid;

use super::Client;
use crate::Error;

/// How to apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Answers what would happen and changes nothing.
    pub validate_only: bool,
    /// Why, for the history.
    pub reason: String,
    /// Made up when empty.
    pub request_id: String,
}

/// How to create or update.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Answers what would happen and changes nothing.
    pub validate_only: bool,
    /// Made up when empty.
    pub request_id: String,
    /// Why, for the history.
    pub reason: String,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the request's")]
pub struct DeleteOptions {
    /// Answers what would be deleted and changes nothing.
    pub validate_only: bool,
    /// Only if the object still has this etag; empty for any.
    pub etag: String,
    /// Also deletes volume claims and what is marked to be retained.
    pub delete_data: bool,
    /// Gives up what can't be reached.
    pub orphan: bool,
    /// Of many: deletes the others when some are not there.
    pub ignore_not_found: bool,
    /// Of many: deletes also all that uses them.
    pub cascade: bool,
    /// Why, for the history.
    pub reason: String,
    /// Made up when empty.
    pub request_id: String,
}

impl Client {
    /// Gets one object; `kind` may be singular or plural.
    pub async fn get_erased(&self, kind: &str, project: &str, name: &str) -> Result<v1::Object, Error> {
        let request = v1::GetObjectRequest { kind: kind.into(), project: project.into(), name: name.into() };
        self.call("Get", request, async |request| self.objects().get(request).await).await
    }

    /// One page of objects.
    pub async fn list_erased(&self, request: v1::ListObjectsRequest) -> Result<v1::ObjectList, Error> {
        self.call("List", request, async |request| self.objects().list(request).await).await
    }

    /// All pages of objects, with the position of the first page's snapshot.
    pub async fn list_all_erased(&self, mut request: v1::ListObjectsRequest) -> Result<v1::ObjectList, Error> {
        let mut all = v1::ObjectList::default();
        if request.page_size == 0 {
            request.page_size = 1000;
        }
        loop {
            let mut page = self.list_erased(request.clone()).await?;
            if request.page_token.is_empty() {
                all.position = page.position;
            }
            all.items.append(&mut page.items);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Creates one object.
    pub async fn create_erased(&self, object: v1::Object, options: WriteOptions) -> Result<v1::Object, Error> {
        let request = v1::CreateObjectRequest {
            object: Some(object),
            validate_only: options.validate_only,
            request_id: or_new(options.request_id),
            reason: options.reason,
        };
        self.call("Create", request, async |request| self.objects().create(request).await).await
    }

    /// Changes what the mask names: paths below the object, such as `spec.paused`.
    pub async fn update_erased(
        &self,
        object: v1::Object,
        mask: &[&str],
        options: WriteOptions,
    ) -> Result<v1::Object, Error> {
        let request = v1::UpdateObjectRequest {
            object: Some(object),
            update_mask: mask.join(","),
            validate_only: options.validate_only,
            request_id: or_new(options.request_id),
            reason: options.reason,
        };
        self.call("Update", request, async |request| self.objects().update(request).await).await
    }

    /// Creates or replaces all of the objects in one transaction, or none.
    pub async fn apply_many(
        &self,
        objects: Vec<v1::Object>,
        options: ApplyOptions,
    ) -> Result<Vec<v1::ApplyResult>, Error> {
        let request = v1::ApplyRequest {
            objects,
            validate_only: options.validate_only,
            request_id: or_new(options.request_id),
            reason: options.reason,
        };
        let response = self.call("Apply", request, async |request| self.objects().apply(request).await).await?;
        Ok(response.results)
    }

    /// Asks for the deletion of an object and all that it owns.
    pub async fn delete_erased(
        &self,
        kind: &str,
        project: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<v1::DeleteResponse, Error> {
        let request = v1::DeleteObjectRequest {
            kind: kind.into(),
            project: project.into(),
            name: name.into(),
            validate_only: options.validate_only,
            request_id: or_new(options.request_id),
            etag: options.etag,
            delete_data: options.delete_data,
            orphan: options.orphan,
            reason: options.reason,
        };
        self.call("Delete", request, async |request| self.objects().delete(request).await).await
    }

    /// Asks for the deletion of many objects and all that they own, all or none; etags are not looked at.
    pub async fn delete_many(
        &self,
        objects: Vec<v1::ObjectReference>,
        options: DeleteOptions,
    ) -> Result<v1::DeleteResponse, Error> {
        let request = v1::DeleteManyRequest {
            objects,
            validate_only: options.validate_only,
            request_id: or_new(options.request_id),
            delete_data: options.delete_data,
            orphan: options.orphan,
            ignore_not_found: options.ignore_not_found,
            reason: options.reason,
            cascade: options.cascade,
        };
        self.call("DeleteMany", request, async |request| self.objects().delete_many(request).await).await
    }

    /// What happened lately, newest first.
    pub async fn events(&self, request: v1::EventsRequest) -> Result<v1::EventsResponse, Error> {
        self.call("Events", request, async |request| self.objects().events(request).await).await
    }

    /// Who changed what of an object, newest first.
    pub async fn history(&self, request: v1::HistoryRequest) -> Result<v1::HistoryResponse, Error> {
        self.call("History", request, async |request| self.objects().history(request).await).await
    }

    /// What a workload, instance or definition would apply to clusters, secrets hidden.
    pub async fn render(&self, kind: &str, project: &str, name: &str) -> Result<v1::RenderResponse, Error> {
        let request = v1::RenderRequest { kind: kind.into(), project: project.into(), name: name.into() };
        self.call("Render", request, async |request| self.objects().render(request).await).await
    }

    /// The server's version.
    pub async fn version(&self) -> Result<String, Error> {
        let request = v1::GetVersionRequest {};
        let version =
            self.call("GetVersion", request, async |request| self.objects().get_version(request).await).await?;
        Ok(version.version)
    }

    /// The kinds that the server knows now, ours and those registered at run time.
    pub async fn kinds(&self) -> Result<Registry, Error> {
        let request = v1::ListKindsRequest {};
        let response =
            self.call("ListKinds", request, async |request| self.objects().list_kinds(request).await).await?;
        registry(response)
    }
}

fn registry(response: v1::ListKindsResponse) -> Result<Registry, Error> {
    let malformed = |name: &str, message: String| Error::Malformed { kind: "kind".into(), name: name.into(), message };
    let pool = DescriptorPool::decode(response.descriptor_set.as_slice())
        .map_err(|error| malformed("*", error.to_string()))?;
    let mut kinds = Vec::with_capacity(response.kinds.len());
    for info in response.kinds {
        let message = pool
            .get_message_by_name(&info.message)
            .ok_or_else(|| malformed(&info.name, format!("message {} is not described", info.message)))?;
        let controllers = info.controllers.into_iter().map(|name| Controller { name, owns: Vec::new() }).collect();
        let mut kind = Kind::new(&info.name, message, info.in_project, controllers);
        kind.plural = info.plural;
        kind.columns = info.columns;
        kind.aliases = info.aliases;
        kinds.push(kind);
    }
    Ok(Registry::with(pool, kinds))
}

/// Writes always carry a request id: that is what makes their retry safe.
fn or_new(request_id: String) -> String {
    if request_id.is_empty() { Uuid::new_v4().to_string() } else { request_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_rebuilt_from_what_the_server_says() {
        let built_in = Registry::built_in();
        let response =
            v1::ListKindsResponse { kinds: built_in.infos(), descriptor_set: threeport::DESCRIPTORS.to_vec() };
        let rebuilt = registry(response).unwrap();
        assert_eq!(rebuilt.infos(), built_in.infos());
        assert_eq!(rebuilt.find("wi").unwrap().references, built_in.find("wi").unwrap().references);
    }
}
