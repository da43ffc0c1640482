//! What a reconcile tells of an instance: status, conditions, events. Pure but for the context that takes them.

use serde_json::{Value, json};
use threeport::v1::ResourceReference;

use super::repairs::{Contention, PATIENCE};
use crate::health::{Health, State};
use crate::resource::display;

/// One resource and how it is.
pub type ResourceState = (ResourceReference, Health);

/// A condition to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_met: bool,
    pub reason: String,
    pub message: String,
}

impl Verdict {
    pub fn met(reason: &str, message: impl Into<String>) -> Self {
        Self { is_met: true, reason: reason.to_owned(), message: message.into() }
    }

    pub fn unmet(reason: &str, message: impl Into<String>) -> Self {
        Self { is_met: false, reason: reason.to_owned(), message: message.into() }
    }
}

/// The worst of all; nothing is healthy.
pub fn worst(resources: &[ResourceState]) -> State {
    resources.iter().map(|(_, health)| health.state).max().unwrap_or(State::Healthy)
}

/// The instance's health as users read it.
pub fn health_text(state: State, is_simulated: bool) -> String {
    if state == State::Healthy && is_simulated { "Healthy (simulated)".into() } else { state.to_string() }
}

/// `Ready`: the first of what keeps it from being so.
pub fn ready(resources: &[ResourceState], contention: Option<&(ResourceReference, Contention)>) -> Verdict {
    if let Some((reference, contention)) = contention {
        return contended(reference, contention);
    }
    let state = worst(resources);
    let Some((reference, health)) =
        resources.iter().find(|(_, health)| health.state == state && state != State::Healthy)
    else {
        return Verdict::met("Healthy", "");
    };
    let others = resources.iter().filter(|(_, health)| health.state != State::Healthy).count() - 1;
    let more = if others == 0 { String::new() } else { format!(", and {others} more") };
    let separator = if state == State::Error { ": " } else { " " };
    let message = if health.message.contains(&display(reference)) {
        format!("{}{more}", health.message)
    } else {
        format!("{}{separator}{}{more}", display(reference), health.message)
    };
    Verdict::unmet(&health.reason, message)
}

/// `Contended`, as a reason to stop.
pub fn contended(reference: &ResourceReference, contention: &Contention) -> Verdict {
    let message = format!(
        "`{}` changes `{}` of {} whenever it is restored; stop it, or leave the field to it with `yield`; \
         restoring is tried again {} minutes after the last time, or when the field changes hands",
        contention.manager,
        contention.field,
        display(reference),
        PATIENCE.as_secs() / 60
    );
    Verdict::unmet("Contended", message)
}

/// Each resource as the status shows it.
pub fn resources(resources: &[ResourceState]) -> Vec<Value> {
    let one = |(reference, health): &ResourceState| {
        json!({
            "resource": {
                "api_version": reference.api_version, "kind": reference.kind,
                "namespace": reference.namespace, "name": reference.name,
            },
            "health": health.state.to_string(),
            "reason": health.reason,
            "message": health.message,
        })
    };
    resources.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, health: Health) -> ResourceState {
        (
            ResourceReference {
                kind: "Deployment".into(),
                namespace: "n".into(),
                name: name.into(),
                ..Default::default()
            },
            health,
        )
    }

    #[test]
    fn ready_names_the_worst_and_counts_the_rest() {
        let all = [
            resource("a", Health::healthy()),
            resource("b", Health::reconciling("NotReady", "0 of 1 replicas are ready")),
            resource("c", Health::new(State::Down, "ImagePullBackOff", "no such image")),
        ];
        let verdict = ready(&all, None);
        assert_eq!(verdict, Verdict::unmet("ImagePullBackOff", "Deployment `n/c` no such image, and 1 more"));
    }

    #[test]
    fn all_healthy_is_ready_and_says_if_it_is_simulated() {
        assert!(ready(&[resource("a", Health::healthy())], None).is_met);
        assert_eq!(health_text(State::Healthy, true), "Healthy (simulated)");
        assert_eq!(health_text(State::Down, true), "Down");
    }
}
