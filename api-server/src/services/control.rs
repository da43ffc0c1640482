//! `ControlService`: what controllers need.

use threeport::v1::control_service_server::ControlService;
use threeport::v1::{
    AcquireLeaseRequest, AcquireLeaseResponse, BeginRequest, BeginResponse, CheckTombstonesRequest,
    CheckTombstonesResponse, FinishRequest, FinishResponse, ListInventoryRequest, ListInventoryResponse, RecordRequest,
    RecordResponse, RenewRequest, RenewResponse, SweepRequest, SweepResponse, WakeRequest, WakeResponse,
};
use tonic::{Request, Response, Status};

use super::cause;
use crate::auth;
use crate::error::Error;
use crate::store::work::Caller;
use crate::store::{Cause, Store};

/// Answers from the store.
#[derive(Clone)]
pub struct Control {
    store: Store,
}

impl Control {
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// Who speaks, kept while the store asks which controllers the token names.
struct Speaker {
    caller: auth::Caller,
    cause: Cause,
}

impl Speaker {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<auth::Caller>().cloned().ok_or(Error::Unauthenticated)?;
        Ok(Self { caller, cause: cause(request.extensions(), "") })
    }

    fn may_act_as(&self) -> impl Fn(&str, &str) -> bool + Send + Sync {
        |kind, controller| self.caller.may_act_as(kind, controller)
    }
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.renew(request.into_inner(), caller).await?))
    }

    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.begin(request.into_inner(), caller).await?))
    }

    async fn record(&self, request: Request<RecordRequest>) -> Result<Response<RecordResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.record(request.into_inner(), caller).await?))
    }

    async fn finish(&self, request: Request<FinishRequest>) -> Result<Response<FinishResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.finish(request.into_inner(), caller).await?))
    }

    async fn wake(&self, request: Request<WakeRequest>) -> Result<Response<WakeResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.wake(request.into_inner(), caller).await?))
    }

    async fn sweep(&self, request: Request<SweepRequest>) -> Result<Response<SweepResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.sweep(request.into_inner(), caller).await?))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.acquire_lease(request.into_inner(), caller).await?))
    }

    async fn list_inventory(
        &self,
        request: Request<ListInventoryRequest>,
    ) -> Result<Response<ListInventoryResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.list_inventory(request.into_inner(), caller).await?))
    }

    async fn check_tombstones(
        &self,
        request: Request<CheckTombstonesRequest>,
    ) -> Result<Response<CheckTombstonesResponse>, Status> {
        let speaker = Speaker::of(&request)?;
        let caller = Caller { cause: &speaker.cause, may_act_as: &speaker.may_act_as() };
        Ok(Response::new(self.store.check_tombstones(request.into_inner(), caller).await?))
    }
}
