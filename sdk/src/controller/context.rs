//! What a reconcile reads, and where it leaves what it has to report.

use std::sync::Arc;

use serde_json::Value;
use threeport::object::Object;
use threeport::v1;

use super::outputs::Outputs;
use super::{Error, LeaseGuard, Next};
use crate::Conditions;
use crate::client::ControlClient;

/// The present of one object, read under the lease, with all that its reconcile may need.
pub struct Context<T> {
    /// The object. Sensitive fields are in the clear.
    pub object: T,
    begun: v1::BeginResult,
    controller: v1::ControllerReference,
    lease: LeaseGuard,
    control: ControlClient,
    control_plane_id: Arc<str>,
    outputs: Outputs,
}

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { ConditionStatus::True } else { ConditionStatus::False }
    }
}

/// How an event reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

impl<T: Object> Context<T> {
    /// Begins a reconcile with what Begin answered; fails if the object can't be read as `T`.
    pub(super) fn new(
        mut begun: v1::BeginResult,
        controller: v1::ControllerReference,
        lease: LeaseGuard,
        control: ControlClient,
        control_plane_id: Arc<str>,
    ) -> Result<Self, serde_json::Error> {
        let object = T::from_erased(begun.object.take().unwrap_or_default())?;
        Ok(Self { object, begun, controller, lease, control, control_plane_id, outputs: Outputs::default() })
    }

    /// What the object uses, each once.
    pub fn uses(&self) -> &[v1::Object] {
        &self.begun.uses
    }

    /// The first used object of a type.
    pub fn used<U: Object>(&self) -> Option<U> {
        let object = self.begun.uses.iter().find(|object| object.kind == U::KIND)?;
        read(object)
    }

    /// The first used object of a type as it was at the pinned generation; none unless the object pins one that differs
    /// from the present one.
    pub fn pinned_definition<U: Object>(&self) -> Option<U> {
        let mut object = self.begun.uses.iter().find(|object| object.kind == U::KIND)?.clone();
        object.spec = Some(self.begun.pinned_definition_spec.clone()?);
        object.status.clone_from(&self.begun.pinned_definition_status);
        read(&object)
    }

    /// The attachments aimed at the object.
    pub fn attachments(&self) -> &[v1::Object] {
        &self.begun.attachments
    }

    /// What the object owns.
    pub fn children(&self) -> &[v1::Object] {
        &self.begun.children
    }

    /// What it has in clusters.
    pub fn inventory(&self) -> &[v1::InventoryEntry] {
        &self.begun.inventory
    }

    /// How many reconciles in a row have failed.
    pub fn attempts(&self) -> i32 {
        self.begun.attempts
    }

    /// Trust no hash: the holder before may have acted late.
    pub fn full_look(&self) -> bool {
        self.begun.full_look
    }

    /// Of an object being deleted: also delete claims and what is marked to be retained.
    pub fn delete_data(&self) -> bool {
        self.begun.delete_data
    }

    /// The id of this control plane, which labels what it makes in clusters.
    pub fn control_plane_id(&self) -> &str {
        &self.control_plane_id
    }

    /// To be asked before each call that changes the world.
    pub fn lease(&self) -> &LeaseGuard {
        &self.lease
    }

    /// Reads and writes other objects, as this controller.
    pub fn client(&self) -> &crate::Client {
        self.control.client()
    }

    /// The control service, for what a reconcile rarely needs.
    pub fn control(&self) -> &ControlClient {
        &self.control
    }

    /// Sets status fields that this controller keeps; conditions apart.
    pub fn set_status(&mut self, status: Value) {
        self.outputs.status = Some(status);
    }

    /// Sets a condition; `Ready` is the one that every kind has.
    pub fn condition(
        &mut self,
        r#type: &str,
        status: impl Into<ConditionStatus>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.outputs.conditions.retain(|condition| condition.r#type != r#type);
        self.outputs.conditions.push(v1::Condition {
            r#type: r#type.into(),
            status: format!("{:?}", status.into()),
            reason: reason.into(),
            message: message.into(),
            last_transition_at: None,
        });
    }

    /// Reports what happened.
    pub fn event(&mut self, r#type: EventType, reason: impl Into<String>, note: impl Into<String>) {
        let r#type = format!("{type:?}");
        self.outputs.events.push(v1::NewEvent { r#type, reason: reason.into(), note: note.into() });
    }

    /// Declares what this controller owns under the object: all calls of a reconcile together are the complete set, and
    /// what is missing in it is deleted, also when it is empty. Without a call, or when the reconcile ends with an error,
    /// nothing changes. A project left out is the owner's.
    pub fn own<U: Object>(&mut self, objects: impl IntoIterator<Item = U>) {
        self.own_erased(objects.into_iter().map(|object| object.to_erased()));
    }

    /// As [`Context::own`], of objects without types.
    pub fn own_erased(&mut self, objects: impl IntoIterator<Item = v1::Object>) {
        self.outputs.children.get_or_insert_default().extend(objects);
    }

    /// Sets `Ready` by what is declared as owned: true once all of it is Ready, and else naming what isn't yet. What is
    /// changed now speaks for itself in a moment, and whoever waits for this object waits for that too.
    pub fn ready_with_children(&mut self) {
        let declared = self.outputs.children.as_deref().unwrap_or_default();
        let waiting = waiting(declared, &self.begun.children, &self.object.meta().project);
        let (ready, all) = (declared.len() - waiting.len(), declared.len());
        match waiting.first() {
            None => self.condition("Ready", true, "ChildrenReady", format!("{all} of {all} are ready")),
            Some(first) => {
                let message = format!("{ready} of {all} are ready; waiting for {first}");
                self.condition("Ready", false, "WaitingForChildren", message);
            }
        }
    }

    /// Adds or replaces inventory, by resource.
    pub fn keep_inventory(&mut self, entries: Vec<v1::InventoryEntry>) {
        self.outputs.entries.extend(entries);
    }

    /// Drops inventory that is proved gone.
    pub fn forget_inventory(&mut self, resources: Vec<v1::ResourceReference>) {
        self.outputs.removed.extend(resources);
    }

    /// The runtime that inventory kept by this reconcile is on, as its id.
    pub fn set_runtime(&mut self, id: impl Into<String>) {
        self.outputs.runtime_id = id.into();
    }

    /// Says that nothing is left of what this object no longer wants or is given, so that deleting attachments may go
    /// although it is not done; being done says so by itself.
    pub fn set_pruned(&mut self) {
        self.outputs.pruned = true;
    }

    /// Notes at once, before the world is touched, what is about to be made. Replica and lease are filled in.
    ///
    /// # Errors
    /// When the lease is lost or the note can't be stored: touch nothing then.
    pub async fn record(&self, mut request: v1::RecordRequest) -> Result<v1::RecordResponse, Error> {
        request.replica = self.lease.replica().to_string();
        request.lease = Some(self.held());
        Ok(self.lease.guard(self.control.record(request)).await??)
    }

    /// Ends the reconcile.
    pub(super) fn finish(self, result: Result<Next, Error>) -> v1::FinishItem {
        let (lease, is_deleting) = (self.held(), self.object.is_deleting());
        self.outputs.finish(lease, self.begun.wanted, is_deleting, result)
    }

    fn held(&self) -> v1::Lease {
        v1::Lease {
            controller: Some(self.controller.clone()),
            object_id: self.object.meta().id.clone(),
            epoch: self.begun.epoch,
        }
    }
}

/// An object that this version can't read counts as absent.
fn read<U: Object>(object: &v1::Object) -> Option<U> {
    U::from_erased(object.clone())
        .inspect_err(|error| tracing::warn!(kind = U::KIND, %error, "a used object can't be read"))
        .ok()
}

/// What of the declared children is not Ready among those that are there, as ``workload `web` ``.
fn waiting(declared: &[v1::Object], children: &[v1::Object], home: &str) -> Vec<String> {
    let name = |object: &v1::Object| object.meta.as_ref().map_or_else(String::new, |meta| meta.name.clone());
    let is_met = |one: &v1::Object, child: &v1::Object| {
        let (Some(wanted), Some(found)) = (&one.meta, &child.meta) else { return false };
        let project = if wanted.project.is_empty() { home } else { &wanted.project };
        // What lives in no project has none, whatever its owner's is.
        let is_same = one.kind == child.kind
            && wanted.name == found.name
            && (found.project == project || found.project.is_empty());
        is_same && found.deleted_at.is_none() && child.is_ready()
    };
    let waiting = declared.iter().filter(|one| !children.iter().any(|child| is_met(one, child)));
    waiting.map(|one| format!("{} `{}`", one.kind, name(one))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use threeport::json::to_struct;

    use super::*;

    fn child(name: &str, ready: &str) -> v1::Object {
        let meta = v1::ObjectMeta { name: name.into(), ..Default::default() };
        let status = json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        v1::Object { kind: "workload".into(), meta: Some(meta), spec: None, status: Some(to_struct(status)) }
    }

    #[test]
    fn only_what_is_declared_and_not_ready_is_waited_for() {
        let declared = ["a", "b", "c"].map(|name| child(name, ""));
        let there = [child("a", "True"), child("b", "False"), child("left-over", "False")];
        assert_eq!(waiting(&declared, &there, ""), ["workload `b`", "workload `c`"]);
        assert!(waiting(&declared[..1], &there, "").is_empty());
    }
}
