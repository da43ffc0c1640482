//! What a Finish says, parsed and checked before any transaction: a request with one malformed item stores nothing.

use std::time::Duration;

use serde_json::{Map, Value};
use threeport::json::{Violation, check_nul, dynamic_from_json, from_struct, to_json};
use threeport::registry::Registry;
use threeport::v1::{Condition, FinishItem, NewEvent, Object};
use uuid::Uuid;

use super::inventory::InventoryWrite;
use super::next_look::Outcome;
use super::status::READY;
use super::work::parse_id;
use crate::error::{Error, Result};

const CHILDREN_REFUSED: &str = "ChildrenRefused";

/// The end of one reconcile.
#[derive(Clone, Debug)]
pub struct Ending {
    pub object: Uuid,
    pub controller: String,
    /// The controller's kind.
    pub kind: String,
    pub epoch: i64,
    pub wanted: i64,
    pub fields: Option<Map<String, Value>>,
    pub conditions: Vec<Condition>,
    pub events: Vec<NewEvent>,
    /// The complete set; none makes no statement.
    pub children: Option<Vec<Object>>,
    pub outcome: Outcome,
    pub cleaned_up: bool,
    pub pruned: bool,
    pub inventory: InventoryWrite,
}

impl Ending {
    pub fn parse(item: FinishItem, registry: &Registry) -> Result<Self> {
        let outcome = outcome(&item)?;
        let lease = item.lease.unwrap_or_default();
        let controller = lease.controller.unwrap_or_default();
        let mut conditions = item.conditions;
        for condition in &mut conditions {
            condition.last_transition_at = None;
        }
        let fields = item.status.map(|fields| match from_struct(fields) {
            Value::Object(fields) => fields,
            _ => Map::new(),
        });
        let events = item.events.into_iter().chain(event_of(outcome, item.message)).collect();
        let ending = Self {
            object: parse_id("items.lease.object_id", &lease.object_id)?,
            epoch: lease.epoch,
            wanted: item.wanted,
            fields,
            conditions,
            events,
            children: item.children.map(|children| children.objects),
            outcome,
            cleaned_up: item.cleaned_up,
            pruned: item.pruned,
            inventory: InventoryWrite::parse(&item.runtime_id, item.entries, item.removed)?,
            controller: controller.name,
            kind: controller.kind,
        };
        let violations = ending.check(registry);
        if violations.is_empty() { Ok(ending) } else { Err(Error::Invalid(violations)) }
    }

    /// Stored text that nobody could read again must not get in.
    fn check(&self, registry: &Registry) -> Vec<Violation> {
        let mut violations = Vec::new();
        if let Some(fields) = &self.fields {
            let json = Value::Object(
                fields.iter().filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.clone(), v.clone())).collect(),
            );
            check_nul(&json, "status", &mut violations);
            if let Some(descriptor) = registry.get(&self.kind).and_then(|kind| kind.status())
                && let Err(error) = dynamic_from_json(descriptor, json)
            {
                violations.push(Violation::new("status", error.to_string()));
            }
        }
        for condition in &self.conditions {
            let place = format!("conditions[{}]", condition.r#type);
            check_nul(&to_json(condition), &place, &mut violations);
            if condition.r#type.is_empty() || !matches!(condition.status.as_str(), "True" | "False" | "Unknown") {
                violations.push(Violation::new(place, "must have a type and the status `True`, `False` or `Unknown`"));
            }
        }
        violations
    }

    /// The same, telling the object's reader that its children were refused.
    #[must_use]
    pub fn with_refused_children(&self, why: &str) -> Self {
        let mut told = self.clone();
        let message = format!("none of its children was stored: {why}");
        told.events.push(NewEvent { r#type: "Warning".into(), reason: CHILDREN_REFUSED.into(), note: message.clone() });
        told.conditions.push(Condition {
            r#type: READY.into(),
            status: "False".into(),
            reason: CHILDREN_REFUSED.into(),
            message,
            last_transition_at: None,
        });
        told
    }

    /// What this controller says of Ready, if anything.
    pub fn ready(&self) -> Option<Value> {
        self.conditions.iter().rfind(|condition| condition.r#type == READY).map(to_json)
    }

    /// Whether nothing is left of what Begin no longer returned: who is done has nothing left to prune.
    pub fn is_pruned(&self) -> bool {
        self.pruned || self.outcome == Outcome::Done
    }

    /// As it was asked for.
    pub fn outcome_name(&self) -> &'static str {
        match self.outcome {
            _ if self.cleaned_up => "cleaned_up",
            Outcome::Done => "done",
            Outcome::CheckIn(_) => "check_in",
            Outcome::Retry => "retry",
            Outcome::GiveUp => "give_up",
        }
    }
}

fn outcome(item: &FinishItem) -> Result<Outcome> {
    match item.outcome.as_str() {
        "done" => Ok(Outcome::Done),
        "check_in" => {
            let delay = item.check_in.and_then(|delay| Duration::try_from(delay).ok());
            delay.map(Outcome::CheckIn).ok_or_else(|| Error::invalid("items.check_in", "must say how long to wait"))
        }
        "retry" => Ok(Outcome::Retry),
        "give_up" => Ok(Outcome::GiveUp),
        other => {
            Err(Error::invalid("items.outcome", format!("`{other}` must be `done`, `check_in`, `retry` or `give_up`")))
        }
    }
}

/// Failures are told to the object's reader.
fn event_of(outcome: Outcome, message: String) -> Option<NewEvent> {
    let reason = match outcome {
        Outcome::Retry => "Retrying",
        Outcome::GiveUp => "GaveUp",
        Outcome::Done | Outcome::CheckIn(_) => return None,
    };
    (!message.is_empty()).then(|| NewEvent { r#type: "Warning".into(), reason: reason.into(), note: message })
}

#[cfg(test)]
mod tests {
    use threeport::json::to_struct;
    use threeport::v1::{ControllerReference, Lease};

    use super::*;

    fn item(outcome: &str) -> FinishItem {
        let controller = ControllerReference { kind: "workload".into(), name: "workload".into() };
        let lease = Lease { controller: Some(controller), object_id: Uuid::now_v7().to_string(), epoch: 1 };
        FinishItem { lease: Some(lease), wanted: 1, outcome: outcome.into(), ..Default::default() }
    }

    #[test]
    fn failures_are_told_as_events() {
        let message = "connection refused".to_owned();
        let ending = Ending::parse(FinishItem { message, ..item("retry") }, Registry::built_in()).unwrap();
        assert_eq!(
            (ending.events[0].reason.as_str(), ending.events[0].note.as_str()),
            ("Retrying", "connection refused")
        );
        assert!(Ending::parse(item("done"), Registry::built_in()).unwrap().events.is_empty());
    }

    #[test]
    fn a_status_that_nobody_could_read_is_refused() {
        let status = Some(to_struct(serde_json::json!({ "health": { "no": "text" } })));
        let error = Ending::parse(FinishItem { status, ..item("done") }, Registry::built_in()).unwrap_err();
        assert_eq!(error.reason(), "Invalid");
        assert_eq!(Ending::parse(item("maybe"), Registry::built_in()).unwrap_err().reason(), "Invalid");
    }
}
