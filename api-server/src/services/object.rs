//! `ObjectService`: what works across kinds.

use futures::StreamExt;
use futures::stream::BoxStream;
use threeport::v1::object_service_server::ObjectService;
use threeport::v1::{
    ApplyRequest, ApplyResponse, CreateObjectRequest, DeleteManyRequest, DeleteObjectRequest, DeleteResponse,
    EventsRequest, EventsResponse, GetObjectRequest, GetVersionRequest, HistoryRequest, HistoryResponse,
    ListKindsRequest, ListKindsResponse, ListObjectsRequest, Object, ObjectList, RenderRequest, RenderResponse,
    UpdateObjectRequest, Version, WaitRequest, WaitResponse, WatchRequest, WatchResponse,
};
use tonic::{Request, Response, Status};

use super::{cause, update_mask, wait};
use crate::error::Error;
use crate::store::{Store, WriteOptions};

/// Answers from the store.
#[derive(Clone)]
pub struct Objects {
    store: Store,
}

impl Objects {
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// The object of a request that can't do without.
fn given(object: Option<Object>) -> Result<Object, Status> {
    object.ok_or_else(|| Error::invalid("object", "must be given").into())
}

#[tonic::async_trait]
impl ObjectService for Objects {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;
    type WaitStream = BoxStream<'static, Result<WaitResponse, Status>>;

    async fn get_version(&self, _: Request<GetVersionRequest>) -> Result<Response<Version>, Status> {
        Ok(Response::new(Version { version: env!("CARGO_PKG_VERSION").to_owned() }))
    }

    async fn list_kinds(&self, _: Request<ListKindsRequest>) -> Result<Response<ListKindsResponse>, Status> {
        let registry = self.store.registry();
        let descriptor_set = registry.pool().encode_to_vec();
        Ok(Response::new(ListKindsResponse { kinds: registry.infos(), descriptor_set }))
    }

    async fn get(&self, request: Request<GetObjectRequest>) -> Result<Response<Object>, Status> {
        let GetObjectRequest { kind, project, name } = request.into_inner();
        Ok(Response::new(self.store.get(&kind, &project, &name).await?))
    }

    async fn list(&self, request: Request<ListObjectsRequest>) -> Result<Response<ObjectList>, Status> {
        Ok(Response::new(self.store.list(request.into_inner()).await?))
    }

    async fn create(&self, request: Request<CreateObjectRequest>) -> Result<Response<Object>, Status> {
        let cause = cause(request.extensions(), &request.get_ref().reason);
        let CreateObjectRequest { object, validate_only, request_id, .. } = request.into_inner();
        let options = WriteOptions { validate_only, request_id };
        Ok(Response::new(self.store.create(given(object)?, options, &cause).await?))
    }

    async fn update(&self, request: Request<UpdateObjectRequest>) -> Result<Response<Object>, Status> {
        let cause = cause(request.extensions(), &request.get_ref().reason);
        let UpdateObjectRequest { object, update_mask: mask, validate_only, request_id, .. } = request.into_inner();
        let (object, mask) = (given(object)?, update_mask(&mask));
        let options = WriteOptions { validate_only, request_id };
        Ok(Response::new(self.store.update(object, &mask, options, &cause).await?))
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let cause = cause(request.extensions(), &request.get_ref().reason);
        Ok(Response::new(self.store.apply(request.into_inner(), &cause).await?))
    }

    async fn delete(&self, request: Request<DeleteObjectRequest>) -> Result<Response<DeleteResponse>, Status> {
        let cause = cause(request.extensions(), &request.get_ref().reason);
        Ok(Response::new(self.store.delete(request.into_inner(), &cause).await?))
    }

    async fn delete_many(&self, request: Request<DeleteManyRequest>) -> Result<Response<DeleteResponse>, Status> {
        let cause = cause(request.extensions(), &request.get_ref().reason);
        Ok(Response::new(self.store.delete_many(request.into_inner(), &cause).await?))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let events = self.store.watch(request.into_inner()).await?;
        Ok(Response::new(events.map(|event| event.map_err(Status::from)).boxed()))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        Ok(Response::new(self.store.history(request.into_inner()).await?))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<EventsResponse>, Status> {
        Ok(Response::new(self.store.events(request.into_inner()).await?))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<Self::WaitStream>, Status> {
        Ok(Response::new(wait::stream(self.store.clone(), request.into_inner()).await?))
    }

    async fn render(&self, request: Request<RenderRequest>) -> Result<Response<RenderResponse>, Status> {
        Ok(Response::new(self.store.render(request.into_inner()).await?))
    }
}
