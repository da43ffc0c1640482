//! Objects that others made or manage: taken only from whom the instance says to take, and else not touched at all.

use std::collections::BTreeSet;

use serde_json::Value;
use threeport::render::Resource;
use threeport::v1::{Adoption, InventoryEntry};
use threeport_sdk::controller::{Error as Failure, EventType};

use super::work::{Note, Outcome, Work};
use crate::clients::kubernetes::{Applied, Apply, Error, FieldConflict, Identity, Result};
use crate::resource::{
    CONTROL_PLANE_LABEL, INSTANCE_LABEL, display, field_manager, label, managed_fields, owned_fields, reference, text,
};

/// What `field_manager` begins with.
const OURS: &str = "threeport-";
/// Write into what others made by themselves.
const OF_THE_CLUSTER: &[&str] = &["kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet"];

/// Whose an object is that stands where one of ours is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Made by an apply of ours, whose answer got lost perhaps.
    Us,
    /// The cluster's, or let go by an instance.
    Nobody,
    /// Of these managers; none if whoever made it left no trace.
    Others(BTreeSet<String>),
}

impl Work<'_> {
    /// Applies onto an object that the inventory doesn't know: what others made is taken only from whom the instance
    /// says to take from, and is not touched else.
    pub async fn take(
        &self,
        outcome: &mut Outcome,
        value: &Value,
        live: &Value,
    ) -> std::result::Result<Result<Applied>, Failure> {
        let known = Identity::of(live);
        // Who changed what we had applied before its answer got lost has changed what is ours.
        let force = self.is_marked(live) && owned_fields(live, self.manager).is_some();
        let apply = Apply { object: value, manager: self.manager, force, known: Some(&known) };
        let Owner::Others(mut others) = self.owner(&outcome.entry, live) else {
            return match self.under_lease(self.cluster.apply(apply)).await? {
                Err(Error::Conflict { message, conflicts }) => self.adopt(outcome, &message, conflicts).await,
                applied => Ok(applied),
            };
        };
        others.extend(self.other_instance(live).map(field_manager));
        if !self.takes_all(value, &others, self.other_instance(live).is_some()) {
            // What was ours there, if anything, is gone.
            outcome.entry.uid.clear();
            let conflicts =
                others.iter().map(|manager| FieldConflict { manager: manager.clone(), field: String::new() }).collect();
            let message = self.explained(live, "it was there before", &others).await;
            return Ok(Err(Error::Conflict { message, conflicts }));
        }
        let applied = self.under_lease(self.cluster.apply(Apply { force: true, ..apply })).await?;
        if applied.is_ok() {
            let text = format!("{}: took it over from {}", display(&reference(live)), list(&others));
            outcome.notes.push(Note { event_type: EventType::Normal, reason: "Adopted", text });
        }
        Ok(applied)
    }

    /// Takes the fields of managers that the instance says to take from; reports the others.
    pub async fn adopt(
        &self,
        outcome: &mut Outcome,
        message: &str,
        conflicts: Vec<FieldConflict>,
    ) -> std::result::Result<Result<Applied>, Failure> {
        let one = &self.desired[outcome.index];
        let live = match self.read(outcome.index).await? {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(Err(Error::Stale(format!("{} went meanwhile", display(&one.reference))))),
            Err(error) => return Ok(Err(error)),
        };
        let mut owners = conflicts.iter().map(|conflict| conflict.manager.clone()).collect::<BTreeSet<_>>();
        owners.extend(self.other_instance(&live).map(field_manager));
        if !self.takes_all(&one.value, &owners, self.other_instance(&live).is_some()) {
            return Ok(Err(Error::Conflict { message: self.explained(&live, message, &owners).await, conflicts }));
        }
        // Of exactly the object whose owners were looked at.
        let known = Identity::of(&live);
        let apply = Apply { object: &one.value, manager: self.manager, force: true, known: Some(&known) };
        let applied = self.under_lease(self.cluster.apply(apply)).await?;
        if applied.is_ok() {
            let taken = conflicts.iter().map(|conflict| format!("`{}` from `{}`", conflict.field, conflict.manager));
            let text = format!("{}: took {}", display(&one.reference), taken.collect::<Vec<_>>().join(", "));
            outcome.notes.push(Note { event_type: EventType::Normal, reason: "Adopted", text });
        }
        Ok(applied)
    }

    /// Names whoever manages what is there.
    pub async fn explained(&self, live: &Value, message: &str, managers: &BTreeSet<String>) -> String {
        let name = display(&reference(live));
        match self.other_instance(live) {
            Some(other) => format!(
                "{name} belongs to {}; use another name or namespace, delete that one first, or list `{}` in `adopt`",
                self.names.of(other).await,
                field_manager(other)
            ),
            None if managers.is_empty() => {
                format!("{name} was there before, and nothing tells who made it; list it in `adopt` to take it over")
            }
            None => {
                format!("{name} is managed by {}; list it in `adopt` to take it over ({message})", list(managers))
            }
        }
    }

    fn owner(&self, entry: &InventoryEntry, live: &Value) -> Owner {
        // Labels alone get copied; but what stands in the place of ours with our labels was made from it.
        let is_ours = self.is_marked(live) && (owned_fields(live, self.manager).is_some() || !entry.uid.is_empty());
        if is_ours { Owner::Us } else { maker(live) }
    }

    fn is_marked(&self, live: &Value) -> bool {
        label(live, INSTANCE_LABEL) == self.instance_id && label(live, CONTROL_PLANE_LABEL) == self.control_plane_id
    }

    /// Another instance that an object says to be of.
    fn other_instance<'a>(&self, live: &'a Value) -> Option<&'a str> {
        Some(label(live, INSTANCE_LABEL)).filter(|other| !other.is_empty() && *other != self.instance_id)
    }

    fn takes_all(&self, object: &Value, managers: &BTreeSet<String>, is_instances: bool) -> bool {
        let resource = Resource::new(object.clone());
        let selecting = self.adopt.iter().filter(|adoption| resource.is_selected(adoption.resource.as_ref()));
        let selected = selecting.collect::<Vec<_>>();
        // Of an object without managers only a sweeping word decides.
        let is_swept = || may_take(&selected, "", is_instances);
        if managers.is_empty() { is_swept() } else { managers.iter().all(|one| may_take(&selected, one, is_instances)) }
    }
}

/// Another instance, where the object is of one, has to be named: the two would take it from each other for ever.
fn may_take(adoptions: &[&Adoption], manager: &str, is_instances: bool) -> bool {
    adoptions.iter().any(|adoption| {
        let is_named = adoption.managers.iter().any(|named| named == manager);
        is_named || (adoption.managers.is_empty() && !(is_instances && manager.starts_with(OURS)))
    })
}

fn list(managers: &BTreeSet<String>) -> String {
    managers.iter().map(|manager| format!("`{manager}`")).collect::<Vec<_>>().join(", ")
}

/// Who made an object that doesn't bear our marks.
fn maker(object: &Value) -> Owner {
    let entries = managed_fields(object);
    let is_labelled = !label(object, INSTANCE_LABEL).is_empty();
    if entries.is_empty() || is_labelled {
        // What belongs to another instance is named by its label.
        return Owner::Others(BTreeSet::new());
    }
    let others = entries.iter().filter(|entry| text(&entry["subresource"]).is_empty());
    let others = others.map(|entry| text(&entry["manager"]));
    let others = others.filter(|name| !name.starts_with(OURS) && !OF_THE_CLUSTER.contains(name));
    let others = others.map(str::to_owned).collect::<BTreeSet<_>>();
    if others.is_empty() { Owner::Nobody } else { Owner::Others(others) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(labels: &Value, managers: &[(&str, &str)]) -> Value {
        let entries = managers.iter().map(|(manager, subresource)| {
            json!({ "manager": manager, "operation": "Update", "subresource": subresource, "fieldsV1": {} })
        });
        json!({ "metadata": { "labels": labels, "managedFields": entries.collect::<Vec<_>>() } })
    }

    fn others(names: &[&str]) -> Owner {
        Owner::Others(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn what_somebody_made_is_theirs_also_without_a_trace() {
        assert_eq!(maker(&object(&json!({}), &[("kubectl", ""), ("kubelet", "")])), others(&["kubectl"]));
        assert_eq!(maker(&object(&json!({}), &[])), others(&[]));
        let of_another = object(&json!({ INSTANCE_LABEL: "b" }), &[("threeport-b", "")]);
        assert_eq!(maker(&of_another), others(&[]), "the label names it");
    }

    #[test]
    fn what_the_cluster_made_or_an_instance_let_go_is_nobodys() {
        let managers = [("kube-controller-manager", ""), ("threeport-b", ""), ("operator", "status")];
        assert_eq!(maker(&object(&json!({}), &managers)), Owner::Nobody);
    }

    #[test]
    fn another_instance_has_to_be_named_to_be_taken_from() {
        let all = Adoption::default();
        assert!(may_take(&[&all], "kubectl", true) && !may_take(&[], "kubectl", true));
        assert!(!may_take(&[&all], "threeport-b", true));
        assert!(may_take(&[&all], "threeport-b", false), "what an instance has let go is nobody's");
        let named = Adoption { managers: vec!["threeport-b".into()], ..Adoption::default() };
        assert!(may_take(&[&named], "threeport-b", true) && !may_take(&[&named], "kubectl", true));
    }
}
