//! One trace runs from tptctl through the API server and the hint to the last call to the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::system::*;

/// What matters of a span.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    trace: Vec<u8>,
    parent: Vec<u8>,
    end: u64,
    /// Where in a cluster it called.
    path: String,
}

/// Keeps the spans that it is sent, by id.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<BTreeMap<Vec<u8>, Span>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = text(&attributes, "service.name");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let kept = Span {
                    service: service.clone(),
                    trace: span.trace_id,
                    parent: span.parent_span_id,
                    end: span.end_time_unix_nano,
                    path: text(&span.attributes, "path"),
                };
                spans.insert(span.span_id, kept);
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// The services on the way from a span up to its root, the span's own first.
    fn way_up(&self, span: &Span) -> Vec<String> {
        let spans = self.0.lock().unwrap();
        let (mut way, mut at) = (vec![span.service.clone()], span.clone());
        while let Some(parent) = spans.get(&at.parent) {
            way.push(parent.service.clone());
            at = parent.clone();
        }
        way.dedup();
        way
    }

    /// The last call to a cluster in the trace that tptctl began.
    fn last_cluster_call(&self) -> Option<Span> {
        let spans = self.0.lock().unwrap();
        let root = spans.values().find(|span| span.service == "tptctl" && span.parent.is_empty())?;
        let calls = spans.values().filter(|span| span.trace == root.trace && span.service == "threeport-controllers");
        calls.filter(|span| !span.path.is_empty()).max_by_key(|span| span.end).cloned()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_from_tptctl_through_the_hint_to_the_last_cluster_call() {
    let receiver = Receiver::default();
    let endpoint = receiver.start().await;
    let system = Setup { otlp_endpoint: Some(endpoint.clone()), ..Setup::default() }.start().await;
    let tptctl = system.tptctl.clone().with("THREEPORT_OTLP_ENDPOINT", &endpoint);
    let documents = [definition("web", &config_map("settings", "a", "b")), instance("web-1", "web")];
    tptctl.apply(&file(&documents), &[]).await.ok();
    system.api.wait_ready("workload-instance", "web-1").await;
    eventually("the trace is whole", MINUTE, async || {
        let call = receiver.last_cluster_call().ok_or("no call to the cluster in tptctl's trace")?;
        let way = receiver.way_up(&call);
        when(way == ["threeport-controllers", "threeport-api-server", "tptctl"], format!("{call:?} came by {way:?}"))
    })
    .await;
}
