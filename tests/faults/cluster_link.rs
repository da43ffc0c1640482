//! The way from the controllers to kube-apiserver, which a fault run can make slow, deaf, short or rude.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers: connections are closed at once, those that stand at the next request.
    Down,
    Slow(Duration),
    /// Every second request is answered with this code and never reaches the cluster.
    Refusal(u16),
    /// Every third request is done, and its answer is lost.
    LostAnswers,
    /// Streams break in the middle of an event.
    HalfWatches,
}

/// Headers that belong to one connection.
const OF_CONNECTION: [&str; 5] = ["connection", "content-length", "host", "keep-alive", "transfer-encoding"];

/// A TLS server with the cluster's own certificate, in front of it.
pub struct ClusterLink {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    client: reqwest::Client,
    trouble: Mutex<Option<Trouble>>,
    requests: AtomicU64,
}

type Answer = Response<StreamBody<stream::BoxStream<'static, std::io::Result<Frame<Bytes>>>>>;

impl ClusterLink {
    /// `directory` holds the cluster's certificates.
    pub async fn start(directory: &Path, target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let authority = std::fs::read(directory.join("authority.crt")).expect("the sandbox wrote it");
        let authority = reqwest::Certificate::from_pem(&authority).expect("the sandbox wrote a certificate");
        let client = reqwest::Client::builder().add_root_certificate(authority).build().expect("TLS is set up");
        let shared = Arc::new(Shared { target, client, trouble: Mutex::default(), requests: AtomicU64::new(0) });
        tokio::spawn(accept(listener, acceptor(directory), shared.clone()));
        Self { port, shared }
    }

    /// Begins a trouble, or ends it.
    pub fn set(&self, trouble: Option<Trouble>) {
        *self.shared.trouble.lock().expect("nobody panics with it") = trouble;
    }
}

fn acceptor(directory: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(directory.join("server.crt")).expect("the sandbox wrote it");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("the sandbox wrote a certificate");
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).expect("the sandbox wrote it");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("the key is the certificate's")))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        if shared.trouble() != Some(Trouble::Down) {
            tokio::spawn(serve(socket, acceptor.clone(), shared.clone()));
        }
    }
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { shared.answer(request).await }
    });
    // An error closes the connection, which is what is wanted.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().expect("nobody panics with it")
    }

    async fn answer(&self, request: Request<Incoming>) -> std::io::Result<Answer> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let trouble = self.trouble();
        match trouble {
            Some(Trouble::Down) => return Err(broken()),
            Some(Trouble::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Trouble::Refusal(code)) if number.is_multiple_of(2) && fits(code, request.method()) => {
                return Ok(refusal(code));
            }
            _ => {}
        }
        let response = self.pass_on(request).await?;
        if trouble == Some(Trouble::LostAnswers) && number.is_multiple_of(3) {
            return Err(broken());
        }
        let mut answer = Response::builder().status(response.status());
        copy_headers(response.headers(), answer.headers_mut().expect("nothing was wrong so far"));
        let limit = if trouble == Some(Trouble::HalfWatches) { 2 } else { usize::MAX };
        let body = StreamBody::new(chunks(response, limit).boxed());
        Ok(answer.body(body).expect("it was an answer before"))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> std::io::Result<reqwest::Response> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let url = format!("https://127.0.0.1:{}{path}", self.target);
        let mut headers = HeaderMap::new();
        copy_headers(&head.headers, &mut headers);
        let sent = self.client.request(head.method, url).headers(headers).body(body).send().await;
        sent.map_err(std::io::Error::other)
    }
}

/// Whether a cluster answers so to such a request.
fn fits(code: u16, method: &Method) -> bool {
    match code {
        409 => method != Method::GET,
        410 => method == Method::GET,
        _ => true,
    }
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("a fault run answers {code}") });
    let body = stream::iter([Ok(Frame::data(Bytes::from(status.to_string())))]).boxed();
    let status = StatusCode::from_u16(code).expect("scenarios use valid codes");
    let answer = Response::builder().status(status).header("content-type", "application/json");
    let answer = if code == 429 { answer.header("retry-after", "1") } else { answer };
    answer.body(StreamBody::new(body)).expect("all of it is valid")
}

/// The body as it comes; at the limit half a chunk, and then no end.
fn chunks(response: reqwest::Response, limit: usize) -> impl Stream<Item = std::io::Result<Frame<Bytes>>> + Send {
    stream::unfold(Some((response, 1)), move |state| async move {
        let (mut response, count) = state?;
        match response.chunk().await {
            Ok(Some(_)) if count > limit => Some((Err(broken()), None)),
            Ok(Some(chunk)) if count == limit => {
                Some((Ok(Frame::data(chunk.slice(..chunk.len() / 2))), Some((response, count + 1))))
            }
            Ok(Some(chunk)) => Some((Ok(Frame::data(chunk)), Some((response, count + 1)))),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error)), None)),
        }
    })
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| !OF_CONNECTION.contains(&name.as_str())) {
        to.append(name, value.clone());
    }
}

fn broken() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut by a fault run")
}
