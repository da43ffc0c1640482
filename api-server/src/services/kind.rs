//! The service of every kind, ours and those registered at run time: one, driven by descriptors.

use std::sync::Arc;

use http::{Request, Response};
use prost_reflect::{DynamicMessage, Kind as FieldKind, ReflectMessage, Value};
use threeport::kind::Kind;
use threeport::v1::{
    self, ApplyRequest, DeleteObjectRequest, DeleteRequest, GetRequest, ListObjectsRequest, ListRequest,
};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Extensions, Status};

use super::{DynamicCodec, cause, update_mask};
use crate::error::Error;
use crate::kinds::{from_erased, to_erased};
use crate::store::{Store, WriteOptions};

/// Answers `/{package}.{Kind}Service/{method}`.
pub async fn call(store: &Store, kind: &Arc<Kind>, request: Request<Body>) -> Response<Body> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let service = kind.message.parent_pool().get_service_by_name(&kind.service_name());
    let Some(method) = service.and_then(|service| service.methods().find(|method| method.name() == name)) else {
        return Status::unimplemented(format!("`{}` has no method `{name}`", kind.service_name())).into_http();
    };
    let mut grpc = Grpc::new(DynamicCodec::strict(method.input())).max_decoding_message_size(usize::MAX);
    let handler = tower::service_fn(move |request: tonic::Request<DynamicMessage>| {
        let call = Call { store: store.clone(), kind: kind.clone(), output: DynamicMessage::new(method.output()) };
        let name = method.name().to_owned();
        async move {
            let (_, extensions, message) = request.into_parts();
            call.run(&name, message, &extensions).await.map(tonic::Response::new)
        }
    });
    grpc.unary(handler, request).await
}

struct Call {
    store: Store,
    kind: Arc<Kind>,
    /// The answer, empty.
    output: DynamicMessage,
}

impl Call {
    async fn run(self, method: &str, request: DynamicMessage, caller: &Extensions) -> Result<DynamicMessage, Status> {
        match method {
            "Get" => self.get(read(&request)?).await,
            "List" => self.list(read(&request)?).await,
            "Create" => self.create(&request, caller).await,
            "Update" => self.update(&request, caller).await,
            "Apply" => self.apply(&request, caller).await,
            "Delete" => self.delete(read(&request)?, caller).await,
            _ => Err(Status::unimplemented(format!("`{method}` is not a method of kinds"))),
        }
    }

    async fn get(self, request: GetRequest) -> Result<DynamicMessage, Status> {
        let object = self.store.get(&self.kind.name, &request.project, &request.name).await?;
        Ok(from_erased(&self.kind, object)?)
    }

    async fn list(mut self, request: ListRequest) -> Result<DynamicMessage, Status> {
        let ListRequest { project, page_size, page_token, filter, order_by } = request;
        let kind = self.kind.name.clone();
        let request = ListObjectsRequest { kind, project, page_size, page_token, filter, order_by };
        let page = self.store.list(request).await?;
        let item = |object| from_erased(&self.kind, object).map(Value::Message);
        let items = page.items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
        self.output.set_field_by_name("items", Value::List(items));
        self.output.set_field_by_name("next_page_token", Value::String(page.next_page_token));
        self.output.set_field_by_name("position", Value::I64(page.position));
        Ok(self.output)
    }

    async fn create(self, request: &DynamicMessage, caller: &Extensions) -> Result<DynamicMessage, Status> {
        let object = self.object(request)?;
        let stored = self.store.create(object, options(request), &cause(caller, "")).await?;
        Ok(from_erased(&self.kind, stored)?)
    }

    async fn update(self, request: &DynamicMessage, caller: &Extensions) -> Result<DynamicMessage, Status> {
        let object = self.object(request)?;
        let mask = update_mask(&text(request, "update_mask"));
        let stored = self.store.update(object, &mask, options(request), &cause(caller, "")).await?;
        Ok(from_erased(&self.kind, stored)?)
    }

    async fn apply(mut self, request: &DynamicMessage, caller: &Extensions) -> Result<DynamicMessage, Status> {
        let WriteOptions { validate_only, request_id } = options(request);
        let objects = vec![self.object(request)?];
        let apply = ApplyRequest { objects, validate_only, request_id, reason: String::new() };
        let response = self.store.apply(apply, &cause(caller, "")).await?;
        let result = response.results.into_iter().next().ok_or_else(|| Error::Corrupt("no result of apply".into()))?;
        if let Some(object) = result.object {
            self.output.set_field_by_name("object", Value::Message(from_erased(&self.kind, object)?));
        }
        self.output.set_field_by_name("outcome", Value::String(result.outcome));
        let warnings = result.warnings.into_iter().map(Value::String).collect();
        self.output.set_field_by_name("warnings", Value::List(warnings));
        let differences = self.output.descriptor().get_field_by_name("differences").map(|field| field.kind());
        if let Some(FieldKind::Message(descriptor)) = differences {
            let differences = result.differences.iter().map(|difference| {
                let mut message = DynamicMessage::new(descriptor.clone());
                message.transcode_from(difference).map(|()| Value::Message(message))
            });
            let differences = differences.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?;
            self.output.set_field_by_name("differences", Value::List(differences));
        }
        Ok(self.output)
    }

    async fn delete(mut self, request: DeleteRequest, caller: &Extensions) -> Result<DynamicMessage, Status> {
        let DeleteRequest { project, name, validate_only, request_id, etag, delete_data, orphan, reason } = request;
        let (kind, cause) = (self.kind.name.clone(), cause(caller, &reason));
        let request =
            DeleteObjectRequest { kind, project, name, validate_only, request_id, etag, delete_data, orphan, reason };
        let response = self.store.delete(request, &cause).await?;
        self.output.transcode_from(&response).map_err(|error| unreadable(&error))?;
        Ok(self.output)
    }

    /// The object of a write, under the project and name that the request gives beside it.
    fn object(&self, request: &DynamicMessage) -> Result<v1::Object, Status> {
        let object = request.get_field_by_name("object");
        let Some(Value::Message(object)) = object.as_deref().filter(|_| request.has_field_by_name("object")) else {
            return Err(Error::invalid("object", "must be given").into());
        };
        let mut object = to_erased(&self.kind, object)?;
        let meta = object.meta.get_or_insert_default();
        for (field, own) in [("project", &mut meta.project), ("name", &mut meta.name)] {
            let given = text(request, field);
            if !given.is_empty() && !own.is_empty() && given != *own {
                let description = format!("is `{own}`, but the request names `{given}`; leave one out");
                return Err(Error::invalid(format!("meta.{field}"), description).into());
            }
            if !given.is_empty() {
                *own = given;
            }
        }
        Ok(object)
    }
}

fn options(request: &DynamicMessage) -> WriteOptions {
    let validate_only = request.get_field_by_name("validate_only").and_then(|value| value.as_bool()).unwrap_or(false);
    WriteOptions { validate_only, request_id: text(request, "request_id") }
}

/// A string field; empty if the message has none of that name.
fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn read<M: prost::Message + Default>(message: &DynamicMessage) -> Result<M, Status> {
    message.transcode_to().map_err(|error| Error::invalid("", error.to_string()).into())
}

fn unreadable(error: &prost::DecodeError) -> Error {
    Error::Corrupt(error.to_string())
}
