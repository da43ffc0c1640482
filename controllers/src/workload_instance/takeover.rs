//! Objects that others made or manage: taken only from whom the instance says to take.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use threeport::render::Resource;
use threeport::v1::Adoption;
use threeport_sdk::controller::{Error as Failure, EventType};

use super::plan::entry;
use super::work::{Note, Outcome, Work};
use crate::clients::kubernetes::{Applied, Apply, Error, FieldConflict, Identity, Result};
use crate::resource::{
    INSTANCE_LABEL, display, field_manager, label, managed_fields, owned_fields, reference, resource_version, text, uid,
};

/// What `field_manager` begins with.
const OURS: &str = "threeport-";
/// Write into what others made by themselves.
const OF_THE_CLUSTER: &[&str] = &["kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet"];
/// What an apply has just set is no older than this, whoever's clock is wrong.
const JUST_NOW: Duration = Duration::from_mins(1);

impl Work<'_> {
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
            return Ok(Err(Error::Conflict { message: self.explained(&live, message, &owners), conflicts }));
        }
        // Of exactly the object whose owners were looked at.
        let known = Identity { uid: uid(&live).to_owned(), resource_version: resource_version(&live).to_owned() };
        let apply = Apply { object: &one.value, manager: self.manager, force: true, known: Some(&known) };
        let applied = self.under_lease(self.cluster.apply(apply)).await?;
        if applied.is_ok() {
            let taken = conflicts.iter().map(|conflict| format!("`{}` from `{}`", conflict.field, conflict.manager));
            let text = format!("{}: took {}", display(&one.reference), taken.collect::<Vec<_>>().join(", "));
            outcome.notes.push(Note { event_type: EventType::Normal, reason: "Adopted", text });
        }
        Ok(applied)
    }

    /// An apply without conflict onto what was there already: somebody else's object is given back unless it may be taken,
    /// or it would go with the instance.
    pub async fn join(&self, outcome: &mut Outcome, applied: Applied) -> std::result::Result<Result<Applied>, Failure> {
        let one = &self.desired[outcome.index];
        let is_known = entry(self.inventory, &one.reference).is_some();
        let others = strangers(&applied.object, self.manager, is_known, SystemTime::now());
        if others.is_empty() {
            return Ok(Ok(applied));
        }
        let shown = list(&others);
        if self.takes_all(&one.value, &others, false) {
            let text = format!("{}: shares it with {shown}", display(&one.reference));
            outcome.notes.push(Note { event_type: EventType::Normal, reason: "Adopted", text });
            return Ok(Ok(applied));
        }
        let nothing = bare(&one.value);
        let known = Identity { uid: uid(&applied.object).to_owned(), resource_version: String::new() };
        let apply = Apply { object: &nothing, manager: self.manager, force: false, known: Some(&known) };
        if let Err(error) = self.under_lease(self.cluster.apply(apply)).await? {
            return Ok(Err(error));
        }
        let conflicts =
            others.iter().map(|manager| FieldConflict { manager: manager.clone(), field: String::new() }).collect();
        let message = self.explained(&nothing, "it was there before", &others);
        Ok(Err(Error::Conflict { message, conflicts }))
    }

    /// Names whoever manages what we were about to apply.
    pub async fn explain(
        &self,
        index: usize,
        message: &str,
        conflicts: &[FieldConflict],
    ) -> std::result::Result<String, Failure> {
        let live = self.read(index).await?.ok().flatten();
        let live = live.unwrap_or_else(|| bare(&self.desired[index].value));
        Ok(self.explained(&live, message, &conflicts.iter().map(|conflict| conflict.manager.clone()).collect()))
    }

    fn explained(&self, live: &Value, message: &str, managers: &BTreeSet<String>) -> String {
        let name = display(&reference(live));
        match self.other_instance(live) {
            Some(other) => format!(
                "{name} belongs to the workload-instance with id `{other}`; use another name or namespace, delete that \
                 one first, or list `{}` in `adopt`",
                field_manager(other)
            ),
            None => {
                format!("{name} is managed by {}; list it in `adopt` to take it over ({message})", list(managers))
            }
        }
    }

    /// Another instance that an object says to be of.
    fn other_instance<'a>(&self, live: &'a Value) -> Option<&'a str> {
        Some(label(live, INSTANCE_LABEL)).filter(|other| !other.is_empty() && *other != self.instance_id)
    }

    fn takes_all(&self, object: &Value, managers: &BTreeSet<String>, is_instances: bool) -> bool {
        let resource = Resource::new(object.clone());
        let selecting = self.adopt.iter().filter(|adoption| resource.is_selected(adoption.resource.as_ref()));
        let selected = selecting.collect::<Vec<_>>();
        managers.iter().all(|manager| may_take(&selected, manager, is_instances))
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

/// Nothing but its name: applying it gives back all that a manager owns.
fn bare(object: &Value) -> Value {
    let mut metadata = json!({ "name": object["metadata"]["name"] });
    if object["metadata"]["namespace"].is_string() {
        metadata["namespace"] = object["metadata"]["namespace"].clone();
    }
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata })
}

/// Whose an object was before the first apply of ours, as that apply answered it. What the inventory knew of may have been
/// made by an apply of ours whose answer got lost: others are strangers there only if they say the same as we.
fn strangers(object: &Value, manager: &str, is_known: bool, now: SystemTime) -> BTreeSet<String> {
    let ours = owned_fields(object, manager).unwrap_or(&Value::Null);
    if !is_known && is_old(object, manager, now) {
        return BTreeSet::new();
    }
    let others = managed_fields(object).iter().filter(|entry| {
        let name = text(&entry["manager"]);
        // Another instance that still had it would have had a conflict with our label.
        let is_let_go = name.starts_with(OURS);
        !is_let_go && text(&entry["subresource"]).is_empty() && !OF_THE_CLUSTER.contains(&name)
    });
    let strangers = others.filter(|entry| !is_known || shares(ours, &entry["fieldsV1"]));
    strangers.map(|entry| text(&entry["manager"]).to_owned()).collect()
}

/// Whether our manager was there before: of an instance that a restored backup didn't know to have applied it.
fn is_old(object: &Value, manager: &str, now: SystemTime) -> bool {
    let ours = managed_fields(object).iter().find(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    let since = ours.and_then(|entry| text(&entry["time"]).parse::<prost_types::Timestamp>().ok());
    let since = since.and_then(|since| SystemTime::try_from(since).ok());
    since.and_then(|since| now.duration_since(since).ok()).is_some_and(|age| age > JUST_NOW)
}

/// Whether two managers own one field.
fn shares(ours: &Value, theirs: &Value) -> bool {
    let fields = ours.as_object().into_iter().flatten().filter(|(name, _)| *name != ".");
    fields.into_iter().any(|(name, below)| {
        let is_leaf = below.as_object().is_none_or(serde_json::Map::is_empty);
        theirs.get(name).is_some_and(|other| is_leaf || shares(below, other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANAGER: &str = "threeport-a";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn object(others: &[(&str, &str, Value)]) -> Value {
        let mut entries = vec![json!({ "manager": MANAGER, "operation": "Apply", "time": "1970-01-01T00:10:00Z",
            "fieldsV1": { "f:data": { ".": {}, "f:a": {} } } })];
        entries.extend(others.iter().map(|(manager, subresource, fields)| {
            json!({ "manager": manager, "operation": "Update", "subresource": subresource, "fieldsV1": fields })
        }));
        json!({ "metadata": { "managedFields": entries } })
    }

    fn names(object: &Value, is_known: bool, now: u64) -> Vec<String> {
        strangers(object, MANAGER, is_known, at(now)).into_iter().collect()
    }

    #[test]
    fn what_somebody_else_had_made_is_theirs() {
        let theirs = object(&[("kubectl", "", json!({ "f:data": { ".": {}, "f:b": {} } }))]);
        assert_eq!(names(&theirs, false, 601), ["kubectl"]);
        assert!(names(&object(&[]), false, 601).is_empty());
    }

    #[test]
    fn neither_what_the_cluster_adds_nor_an_instance_that_let_go_is_a_stranger() {
        let ours = object(&[
            ("kube-controller-manager", "", json!({ "f:metadata": {} })),
            ("operator", "status", json!({ "f:status": {} })),
            ("threeport-b", "", json!({ "f:data": { "f:a": {} } })),
        ]);
        assert!(names(&ours, false, 601).is_empty());
    }

    #[test]
    fn what_an_apply_with_a_lost_answer_made_is_ours_unless_somebody_says_the_same() {
        let beside = object(&[("kubectl", "", json!({ "f:data": { ".": {}, "f:b": {} } }))]);
        assert!(names(&beside, true, 601).is_empty());
        let same = object(&[("kubectl", "", json!({ "f:data": { ".": {}, "f:a": {} } }))]);
        assert_eq!(names(&same, true, 601), ["kubectl"]);
    }

    #[test]
    fn what_we_applied_long_ago_is_ours() {
        let edited = object(&[("kubectl-edit", "", json!({ "f:data": { "f:b": {} } }))]);
        assert!(names(&edited, false, 6000).is_empty());
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
