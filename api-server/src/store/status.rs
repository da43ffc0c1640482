//! How a Finish changes a status. Pure: what is stored before, what controllers say, what is stored after.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use threeport::json::to_json;
use threeport::kind::Kind;
use threeport::v1::Condition;

/// Fields that only the server writes.
const OBSERVED_GENERATION: &str = "observed_generation";
const CONDITIONS: &str = "conditions";
pub const READY: &str = "Ready";

/// What one of an object's controllers has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub controller: String,
    pub observed_generation: i64,
    /// Its Ready condition; none before it has said so.
    pub ready: Option<Value>,
}

/// What a Finish says of the status.
pub struct Statement<'a> {
    /// Fields to set, whole; null unsets one, and what is left out stays: it may be another controller's.
    pub fields: Option<&'a Map<String, Value>>,
    pub conditions: &'a [Condition],
    /// All controllers of the object, this one as it is after the Finish.
    pub views: &'a [View],
    pub at: SystemTime,
}

/// What a change of status means to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    pub is_changed: bool,
    /// Its users are to look again: Ready flipped, or an output changed.
    pub concerns_users: bool,
    /// Its owner is to look again: as users, or Ready has another reason.
    pub concerns_owner: bool,
}

/// The status after a Finish.
pub fn merge(stored: &Value, statement: &Statement<'_>) -> Value {
    let stored = stored.as_object().cloned().unwrap_or_default();
    let mut merged = stored.clone();
    if let Some(fields) = statement.fields {
        for (name, value) in fields.iter().filter(|(name, _)| *name != CONDITIONS && *name != OBSERVED_GENERATION) {
            if value.is_null() {
                merged.remove(name);
            } else {
                merged.insert(name.clone(), value.clone());
            }
        }
    }
    let mut conditions = stored.get(CONDITIONS).and_then(Value::as_array).cloned().unwrap_or_default();
    for condition in statement.conditions.iter().filter(|condition| condition.r#type != READY) {
        set_condition(&mut conditions, to_json(condition), statement.at);
    }
    if let Some(ready) = least_ready(statement.views) {
        set_condition(&mut conditions, ready, statement.at);
    }
    if !conditions.is_empty() {
        merged.insert(CONDITIONS.into(), Value::Array(conditions));
    }
    let observed = statement.views.iter().map(|view| view.observed_generation).min().unwrap_or_default();
    if observed > 0 {
        // 64-bit integers are strings in canonical JSON.
        merged.insert(OBSERVED_GENERATION.into(), Value::from(observed.to_string()));
    }
    Value::Object(merged)
}

/// The least Ready of the controllers: False before Unknown before True; none while nobody has said anything.
fn least_ready(views: &[View]) -> Option<Value> {
    if views.iter().all(|view| view.ready.is_none()) {
        return None;
    }
    let ready = |view: &View| {
        view.ready.clone().unwrap_or_else(|| {
            let message = format!("controller `{}` has not looked yet", view.controller);
            json!({ "type": READY, "status": "Unknown", "reason": "Pending", "message": message })
        })
    };
    views.iter().map(ready).min_by_key(|ready| match ready["status"].as_str() {
        Some("True") => 2,
        Some("False") => 0,
        _ => 1,
    })
}

/// Replaces the condition of the same type. The time is that of the last change of its status.
fn set_condition(conditions: &mut Vec<Value>, mut condition: Value, at: SystemTime) {
    let place = conditions.iter().position(|stored| stored["type"] == condition["type"]);
    let before = place.map(|place| &conditions[place]);
    let kept =
        before.filter(|before| before["status"] == condition["status"]).map(|before| &before["last_transition_at"]);
    condition["last_transition_at"] = match kept {
        Some(time) if !time.is_null() => time.clone(),
        _ => Value::from(prost_types::Timestamp::from(at).to_string()),
    };
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
}

/// What others should know of a change.
pub fn meaning(kind: Option<&Kind>, before: &Value, after: &Value) -> Meaning {
    let is_changed = before != after;
    let has_flipped = ready_field(before, "status") != ready_field(after, "status");
    let has_other_reason = ready_field(before, "reason") != ready_field(after, "reason");
    let has_other_output = kind.is_some_and(|kind| outputs(kind, before) != outputs(kind, after));
    let concerns_users = is_changed && (has_flipped || has_other_output);
    Meaning { is_changed, concerns_users, concerns_owner: concerns_users || (is_changed && has_other_reason) }
}

fn ready_field<'a>(status: &'a Value, field: &str) -> Option<&'a str> {
    let conditions = status.get(CONDITIONS)?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == READY)?.get(field)?.as_str()
}

fn outputs<'a>(kind: &Kind, status: &'a Value) -> Vec<(String, &'a Value)> {
    let mut found = Vec::new();
    for path in &kind.outputs {
        path.visit(status, "", &mut |place, value| found.push((place.to_owned(), value)));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use threeport::registry::Registry;

    use super::*;

    fn condition(condition_type: &str, status: &str, reason: &str) -> Condition {
        Condition { r#type: condition_type.into(), status: status.into(), reason: reason.into(), ..Default::default() }
    }

    fn view(controller: &str, observed_generation: i64, ready: Option<&str>) -> View {
        let ready = ready.map(|status| json!({ "type": READY, "status": status, "reason": "Because" }));
        View { controller: controller.into(), observed_generation, ready }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn merged(stored: &Value, fields: &Value, conditions: &[Condition], views: &[View], seconds: u64) -> Value {
        merge(stored, &Statement { fields: fields.as_object(), conditions, views, at: at(seconds) })
    }

    #[test]
    fn what_a_statement_leaves_out_stays() {
        let stored = json!({ "mine": 1, "theirs": 2, "gone": 3 });
        let views = [view("a", 1, None), view("b", 1, None)];
        let after = merged(&stored, &json!({ "mine": 4, "gone": null, "observed_generation": "9" }), &[], &views, 1);
        assert_eq!(after, json!({ "mine": 4, "theirs": 2, "observed_generation": "1" }));
    }

    #[test]
    fn ready_and_observed_generation_are_the_least() {
        let after = merged(&json!({}), &json!({}), &[], &[view("a", 5, Some("True")), view("b", 3, Some("False"))], 1);
        assert_eq!((&after["conditions"][0]["status"], &after["observed_generation"]), (&json!("False"), &json!("3")));
        let after = merged(&json!({}), &json!({}), &[], &[view("a", 5, Some("True")), view("b", 0, None)], 1);
        assert_eq!(after["conditions"][0]["reason"], "Pending");
        assert_eq!(after.get("observed_generation"), None);
    }

    #[test]
    fn a_conditions_time_is_that_of_its_last_flip() {
        let views = [view("a", 1, None)];
        let first = merged(&json!({}), &json!({}), &[condition("Applied", "False", "Waiting")], &views, 1);
        let second = merged(&first, &json!({}), &[condition("Applied", "False", "Refused")], &views, 2);
        assert_eq!(second["conditions"][0]["reason"], "Refused");
        assert_eq!(second["conditions"][0]["last_transition_at"], "1970-01-01T00:00:01Z");
        let third = merged(&second, &json!({}), &[condition("Applied", "True", "Applied")], &views, 3);
        assert_eq!(third["conditions"][0]["last_transition_at"], "1970-01-01T00:00:03Z");
    }

    #[test]
    fn a_heartbeat_means_nothing_and_an_output_concerns_users() {
        let kind = Registry::built_in().get("kubernetes-runtime-instance");
        let meaning = |before: &Value, after: &Value| super::meaning(kind.map(|kind| &**kind), before, after);
        let ready = |status: &str, reason: &str, simulated: bool| {
            let ready = json!({ "type": READY, "status": status, "reason": reason });
            json!({ "conditions": [ready], "simulated": simulated })
        };
        let before = ready("False", "Unreachable", false);
        assert_eq!(meaning(&before, &before), Meaning::default());
        let reason = meaning(&before, &ready("False", "Refused", false));
        assert!(reason.is_changed && !reason.concerns_users && reason.concerns_owner);
        assert!(meaning(&before, &ready("False", "Unreachable", true)).concerns_users);
        assert!(meaning(&before, &ready("True", "Reachable", false)).concerns_users);
    }
}
