//! The runtime against a control service in memory.

use std::collections::HashMap;
use std::net::SocketAddr;

use threeport::object::Object as _;
use threeport::v1::control_service_server::{ControlService, ControlServiceServer};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::super::{Context, Error as Failure, Next};
use super::*;
use crate::Connection;

type Answer<T> = Result<Response<T>, Status>;

/// Due objects by name, and what was reported of them.
#[derive(Default)]
struct State {
    due: Vec<String>,
    holders: HashMap<String, String>,
    finished: Vec<v1::FinishItem>,
    /// Begin calls that take their leases and then fail.
    broken_begins: usize,
    /// The next renewal says that the lease is lost.
    lose: bool,
    left: Vec<String>,
}

#[derive(Clone)]
struct Server(watch::Sender<State>);

impl Server {
    fn finish_all(&self, request: v1::FinishRequest) -> v1::FinishResponse {
        let mut results = Vec::new();
        self.0.send_modify(|state| {
            for item in request.items {
                let id = item.lease.clone().unwrap_or_default().object_id;
                let accepted = state.holders.get(&id) == Some(&request.replica);
                if accepted {
                    state.holders.remove(&id);
                    state.finished.push(item);
                }
                results.push(v1::FinishResult { accepted, child_error: String::new() });
            }
        });
        v1::FinishResponse { results }
    }

    fn begin_one(state: &mut State, replica: &str, item: &v1::BeginItem) -> v1::BeginResult {
        let id = &item.object_id;
        if state.holders.contains_key(id) {
            return v1::BeginResult { outcome: "busy".into(), ..Default::default() };
        }
        let Some(place) = state.due.iter().position(|due| due == id) else {
            return v1::BeginResult { outcome: "idle".into(), ..Default::default() };
        };
        state.due.remove(place);
        state.holders.insert(id.clone(), replica.to_owned());
        let meta = v1::ObjectMeta { id: id.clone(), name: id.clone(), project: "p".into(), ..Default::default() };
        let object = v1::Project { meta: Some(meta), ..Default::default() }.to_erased();
        v1::BeginResult { outcome: "begun".into(), epoch: 1, wanted: 1, object: Some(object), ..Default::default() }
    }
}

#[tonic::async_trait]
impl ControlService for Server {
    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewResponse> {
        let request = request.into_inner();
        let mut response = v1::RenewResponse { control_plane_id: "plane".into(), ..Default::default() };
        self.0.send_modify(|state| {
            let is_holder = state.holders.values().any(|holder| *holder == request.replica);
            if request.leave || (state.lose && is_holder) {
                response.lost = std::mem::take(&mut state.lose);
                let freed = state.holders.extract_if(|_, holder| *holder == request.replica);
                state.due.extend(freed.map(|(id, _)| id));
                state.left.push(request.replica);
            }
        });
        Ok(Response::new(response))
    }

    async fn begin(&self, request: Request<v1::BeginRequest>) -> Answer<v1::BeginResponse> {
        let request = request.into_inner();
        let mut answer = Ok(Response::new(v1::BeginResponse::default()));
        self.0.send_modify(|state| {
            let begin = |item: &v1::BeginItem| Server::begin_one(state, &request.replica, item);
            let results = request.items.iter().map(begin).collect();
            answer = Ok(Response::new(v1::BeginResponse { results }));
            if state.broken_begins > 0 {
                state.broken_begins -= 1;
                answer = Err(Status::unavailable("the connection broke"));
            }
        });
        answer
    }

    async fn finish(&self, request: Request<v1::FinishRequest>) -> Answer<v1::FinishResponse> {
        let request = request.into_inner();
        let is_refused = |item: &v1::FinishItem| item.children.is_some();
        if request.items.iter().any(is_refused) {
            return Err(Status::invalid_argument("children are wrong"));
        }
        Ok(Response::new(self.finish_all(request)))
    }

    async fn sweep(&self, _: Request<v1::SweepRequest>) -> Answer<v1::SweepResponse> {
        let controller = Some(v1::ControllerReference { kind: "project".into(), name: "test".into() });
        let item = |id: &String| v1::BeginItem { controller: controller.clone(), object_id: id.clone() };
        Ok(Response::new(v1::SweepResponse { items: self.0.borrow().due.iter().map(item).collect() }))
    }

    async fn record(&self, _: Request<v1::RecordRequest>) -> Answer<v1::RecordResponse> {
        Err(Status::unimplemented("record"))
    }

    async fn wake(&self, _: Request<v1::WakeRequest>) -> Answer<v1::WakeResponse> {
        Err(Status::unimplemented("wake"))
    }

    async fn acquire_lease(&self, _: Request<v1::AcquireLeaseRequest>) -> Answer<v1::AcquireLeaseResponse> {
        Err(Status::unimplemented("acquire_lease"))
    }

    async fn list_inventory(&self, _: Request<v1::ListInventoryRequest>) -> Answer<v1::ListInventoryResponse> {
        Err(Status::unimplemented("list_inventory"))
    }

    async fn check_tombstones(&self, _: Request<v1::CheckTombstonesRequest>) -> Answer<v1::CheckTombstonesResponse> {
        Err(Status::unimplemented("check_tombstones"))
    }
}

/// Does what an object's name says.
struct ByName;

impl Reconciler for ByName {
    type Object = v1::Project;
    const CONTROLLER: &'static str = "test";

    async fn reconcile(&self, context: &mut Context<v1::Project>) -> Result<Next, Failure> {
        match context.object.meta().name.split('-').next() {
            Some("panic") => panic!("as it was told"),
            Some("slow") => tokio::time::sleep(Duration::from_secs(2)).await,
            Some("hang") => std::future::pending().await,
            Some("wrong") => context.own_erased(Vec::new()),
            _ => {}
        }
        Ok(Next::Done)
    }

    async fn cleanup(&self, _: &mut Context<v1::Project>) -> Result<Next, Failure> {
        Ok(Next::Done)
    }
}

struct Running {
    state: watch::Sender<State>,
    shutdown: CancellationToken,
    runner: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start(state: State) -> Self {
        let state = watch::Sender::new(state);
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let service = ControlServiceServer::new(Server(state.clone()));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let client = Client::connect(&Connection { server, token: String::new() }).unwrap();
        let config = RunnerConfig { step_limit: Duration::from_secs(5), ..RunnerConfig::default() };
        let shutdown = CancellationToken::new();
        let runner = tokio::spawn(Runner::new(client, None, config).add(ByName).run(shutdown.clone()));
        Self { state, shutdown, runner }
    }

    async fn until(&self, what: impl Fn(&State) -> bool) {
        let mut changes = self.state.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), changes.wait_for(|state| what(state))).await;
        assert!(waited.is_ok(), "waited in vain");
    }

    async fn stop(self) -> watch::Sender<State> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.runner).await;
        ended.expect("the runner drains").unwrap().unwrap();
        self.state
    }
}

fn due(names: &[&str]) -> State {
    State { due: names.iter().map(ToString::to_string).collect(), ..State::default() }
}

fn outcomes(state: &State) -> HashMap<String, String> {
    let outcome = |item: &v1::FinishItem| (item.lease.clone().unwrap_or_default().object_id, item.outcome.clone());
    state.finished.iter().map(outcome).collect()
}

#[tokio::test]
async fn work_is_found_done_and_reported_and_the_replica_leaves() {
    let names = (0..100).map(|number| format!("fine-{number}")).collect::<Vec<_>>();
    let running = Running::start(State { due: names, ..State::default() }).await;
    running.until(|state| state.finished.len() == 100).await;
    let state = running.stop().await;
    assert!(state.borrow().finished.iter().all(|item| item.outcome == "done" && !item.cleaned_up));
    assert_eq!(state.borrow().left.len(), 1);
}

#[tokio::test]
async fn panics_and_refused_reports_are_put_off() {
    let running = Running::start(due(&["panic", "wrong", "fine"])).await;
    running.until(|state| state.finished.len() == 3).await;
    let state = running.stop().await;
    let outcomes = outcomes(&state.borrow());
    assert_eq!([&outcomes["panic"], &outcomes["wrong"], &outcomes["fine"]], ["retry", "retry", "done"]);
    assert!(!state.borrow().finished.iter().any(|item| item.message.contains("as it was told")));
}

#[tokio::test]
async fn a_hanging_step_is_cancelled_and_delays_nobody() {
    let running = Running::start(due(&["hang", "fine"])).await;
    running.until(|state| state.finished.len() == 1).await;
    assert_eq!(outcomes(&running.state.borrow())["fine"], "done");
    running.until(|state| state.finished.len() == 2).await;
    assert_eq!(outcomes(&running.state.borrow())["hang"], "retry");
    running.stop().await;
}

#[tokio::test]
async fn a_lost_lease_cancels_all_and_work_goes_on_under_another_id() {
    let running = Running::start(due(&["hang"])).await;
    running.until(|state| state.holders.contains_key("hang")).await;
    let first = running.state.borrow().holders["hang"].clone();
    running.state.send_modify(|state| state.lose = true);
    running.until(|state| state.holders.get("hang").is_some_and(|holder| *holder != first)).await;
    assert!(running.state.borrow().finished.is_empty());
}

#[tokio::test]
async fn what_a_broken_begin_took_is_freed() {
    let running = Running::start(State { broken_begins: 1, ..due(&["fine-1", "fine-2"]) }).await;
    running.until(|state| state.finished.len() == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn a_drain_lets_running_work_end() {
    let running = Running::start(due(&["slow"])).await;
    running.until(|state| state.holders.contains_key("slow")).await;
    let state = running.stop().await;
    assert_eq!(outcomes(&state.borrow())["slow"], "done");
}
