//! REST over the gRPC services, read from google.api.http in the descriptors.
//!
//! A request is transcoded in process into the gRPC call that it stands for, so that authorization, limits and services
//! are the same for both.

mod body;
mod etag;
mod openapi;
mod reply;
pub mod transcode;

use std::convert::Infallible;

use futures::{FutureExt, StreamExt};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use prost_reflect::DynamicMessage;
use tonic::body::Body;
use tonic::{Code, Status};

pub use reply::{error, no_route};

use crate::auth::Caller;
use crate::error::Error;
use crate::limits;
use crate::observe;
use crate::routes::{Found, Route};
use crate::services::{DynamicCodec, Services};

/// Answers a REST request.
pub async fn handle(services: &Services, request: Request<Body>) -> Response<Body> {
    let catalog = services.catalog();
    let (parts, body) = request.into_parts();
    match catalog.routes.find(&parts.method, parts.uri.path()) {
        Found::Route(route, bound) => {
            let answer = async {
                match answer(services, route, &bound, &parts, body).await {
                    Ok(response) => (Code::Ok, response),
                    Err((status, http)) => (status.code(), reply::error_as(http, &status)),
                }
            };
            observe::request(route.path.as_str(), "rest", &parts.headers, answer).await
        }
        Found::OtherMethods(known) => reply::other_methods(&parts.method, parts.uri.path(), &known),
        Found::Nothing => no_route(parts.uri.path()),
    }
}

/// Answers the `OpenAPI` document, to whoever may list the kinds.
pub fn openapi(services: &Services, headers: &HeaderMap) -> Response<Body> {
    match services.admit(headers, "/threeport.v1.ObjectService/ListKinds") {
        Ok(_) => reply::ok(openapi::document(services.catalog().pool()).to_string().into_bytes(), ""),
        Err(status) => error(&status),
    }
}

/// An error, and the HTTP status that it has here.
type Failure = (Status, StatusCode);

fn fail(status: Status) -> Failure {
    let http = reply::http_status(status.code());
    (status, http)
}

async fn answer(
    services: &Services,
    route: &Route,
    bound: &[(&str, String)],
    parts: &Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let caller = services.admit(&parts.headers, route.path.as_str()).map_err(fail)?;
    let body =
        if route.body.is_some() { read(body, limits::body_limit(route.path.as_str())).await? } else { Vec::new() };
    let query = parts.uri.query().unwrap_or_default();
    let mut message =
        transcode::request(&route.rpc.input(), bound, query, route.body.as_deref(), &body).map_err(fail)?;
    let is_conditional = etag::demand(&parts.method, &parts.headers, &mut message).map_err(fail)?;
    call(services, route, caller, message).await.map_err(|status| match status.code() {
        Code::Aborted if is_conditional => (status, StatusCode::PRECONDITION_FAILED),
        _ => fail(status),
    })
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Failure> {
    let collected = tokio::time::timeout(limits::TIME, Limited::new(body, limit).collect()).await;
    match collected.map_err(|_| fail(Error::Timeout.into()))? {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err((limits::too_large(limit), StatusCode::PAYLOAD_TOO_LARGE))
        }
        Err(error) => Err(fail(Status::invalid_argument(format!("the body broke off: {error}")))),
    }
}

/// Calls the RPC through the same services that gRPC reaches.
async fn call(
    services: &Services,
    route: &Route,
    caller: Option<Caller>,
    message: DynamicMessage,
) -> Result<Response<Body>, Status> {
    let local = services.clone();
    let service = tower::service_fn(move |request| {
        let (local, caller) = (local.clone(), caller.clone());
        // Boxed: the future of a call is deeper than the compiler likes.
        async move { Ok::<_, Infallible>(local.call_as(caller, request).await) }.boxed()
    });
    let mut client = tonic::client::Grpc::new(service).max_decoding_message_size(usize::MAX);
    let request = tonic::Request::new(message);
    let codec = DynamicCodec::lenient(route.rpc.output());
    if !route.rpc.is_server_streaming() {
        let answer = client.unary(request, route.path.clone(), codec).await?.into_inner();
        return Ok(reply::ok(transcode::answer(&answer)?, &etag::of_answer(&answer)));
    }
    let answers = client.server_streaming(request, route.path.clone(), codec).await?.into_inner();
    let lines = answers.map(|answer| {
        let line = answer.and_then(|message| transcode::line(&message)).unwrap_or_else(|status| reply::line(&status));
        Ok::<_, Infallible>(Frame::data(line.into()))
    });
    Ok(reply::lines(Body::new(StreamBody::new(lines))))
}
