//! Rolls the instances of a workload up into its status.

use serde_json::{Value, json};
use threeport::object::Object;
use threeport::v1::{Condition, Workload, WorkloadInstance};
use threeport_sdk::controller::{Context, Error, Next, Reconciler};

/// From best to worst, as instances report them.
const HEALTHS: &[&str] = &["Healthy", "Healthy (simulated)", "Paused", "Reconciling", "Unhealthy", "Down", "Error"];

/// Reconciles workloads: their children do all the work.
pub struct Workloads;

impl Reconciler for Workloads {
    type Object = Workload;
    const CONTROLLER: &'static str = "workload";

    async fn reconcile(&self, context: &mut Context<Workload>) -> Result<Next, Error> {
        let children = context.children().iter().filter(|child| child.kind == WorkloadInstance::KIND);
        let instances =
            children.filter_map(|child| WorkloadInstance::from_erased(child.clone()).ok()).collect::<Vec<_>>();
        let rolled_up = roll_up(&context.object.meta().name, &instances);
        context.set_status(rolled_up.status);
        context.condition("Ready", rolled_up.is_ready, rolled_up.reason, rolled_up.message);
        Ok(Next::Done)
    }

    /// Children go before their owner, and it has nothing of its own.
    async fn cleanup(&self, _context: &mut Context<Workload>) -> Result<Next, Error> {
        Ok(Next::Done)
    }
}

/// What a workload says of its instances.
#[derive(Debug, PartialEq)]
struct RollUp {
    status: Value,
    is_ready: bool,
    reason: String,
    message: String,
}

fn roll_up(workload: &str, instances: &[WorkloadInstance]) -> RollUp {
    let mut staying = instances.iter().filter(|instance| !instance.is_deleting()).collect::<Vec<_>>();
    staying.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    let worst = staying.iter().map(|instance| health(instance)).max_by_key(|health| rank(health)).unwrap_or("Healthy");
    let status = json!({
        "health": worst,
        "instances": staying.iter().map(|instance| summary(workload, instance)).collect::<Vec<_>>(),
    });
    let unready = staying.iter().filter(|instance| !is_ready(instance)).collect::<Vec<_>>();
    let leaving = instances.len() - staying.len();
    let (reason, message) = match unready.iter().max_by_key(|instance| rank(health(instance))) {
        None if leaving > 0 => ("Removing".to_owned(), format!("{leaving} instances are being removed")),
        None => ("Healthy".to_owned(), String::new()),
        Some(instance) => {
            let (reason, message) =
                ready(instance).map_or(("Reconciling", ""), |ready| (&ready.reason, &ready.message));
            let others = if unready.len() > 1 {
                format!(" ({} of {} instances are not ready)", unready.len(), staying.len())
            } else {
                String::new()
            };
            (
                reason.to_owned(),
                format!("instance `{}`: {}{others}", short(workload, &instance.meta().name), words(message)),
            )
        }
    };
    RollUp { status, is_ready: unready.is_empty(), reason, message }
}

fn words(message: &str) -> &str {
    if message.is_empty() { "has not been looked at yet" } else { message }
}

fn rank(health: &str) -> usize {
    // A health that this version doesn't know is no good sign.
    HEALTHS.iter().position(|known| *known == health).unwrap_or(HEALTHS.len())
}

fn health(instance: &WorkloadInstance) -> &str {
    let health = instance.status.as_ref().map(|status| status.health.as_str()).unwrap_or_default();
    if health.is_empty() { "Reconciling" } else { health }
}

/// Its Ready, of whatever generation it was last looked at: a change of it is what wakes its owner.
fn ready(instance: &WorkloadInstance) -> Option<&Condition> {
    let status = instance.status.as_ref()?;
    status.conditions.iter().find(|condition| condition.r#type == "Ready")
}

fn is_ready(instance: &WorkloadInstance) -> bool {
    ready(instance).is_some_and(|ready| ready.status == "True")
}

/// The name within the workload: instances are called `<workload>-<name>`.
fn short<'a>(workload: &str, instance: &'a str) -> &'a str {
    instance.strip_prefix(workload).and_then(|rest| rest.strip_prefix('-')).unwrap_or(instance)
}

fn summary(workload: &str, instance: &WorkloadInstance) -> Value {
    let name = &instance.meta().name;
    let status = instance.status.clone().unwrap_or_default();
    let (reason, message) =
        ready(instance).map_or_else(Default::default, |ready| (ready.reason.clone(), ready.message.clone()));
    json!({
        "name": short(workload, name),
        "instance": name,
        "runtime": instance.spec.as_ref().map(|spec| spec.runtime.clone()).unwrap_or_default(),
        "namespace": status.namespace,
        "health": health(instance),
        "reason": reason,
        "message": message,
    })
}

#[cfg(test)]
mod tests {
    use threeport::v1::{ObjectMeta, WorkloadInstanceStatus};

    use super::*;

    fn instance(name: &str, health: &str, is_ready: bool) -> WorkloadInstance {
        let status = if is_ready { "True" } else { "False" };
        let ready = Condition {
            r#type: "Ready".into(),
            status: status.into(),
            reason: "Why".into(),
            message: "because".into(),
            ..Default::default()
        };
        WorkloadInstance {
            meta: Some(ObjectMeta { name: format!("shop-{name}"), ..Default::default() }),
            status: Some(WorkloadInstanceStatus {
                health: health.into(),
                conditions: vec![ready],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_workload_is_as_well_as_its_worst_instance() {
        let rolled_up = roll_up(
            "shop",
            &[instance("a", "Healthy", true), instance("b", "Down", false), instance("c", "Reconciling", false)],
        );
        assert_eq!(rolled_up.status["health"], "Down");
        assert!(!rolled_up.is_ready);
        assert_eq!(rolled_up.message, "instance `b`: because (2 of 3 instances are not ready)");
        assert_eq!(rolled_up.status["instances"][1]["name"], "b");
    }

    #[test]
    fn it_is_ready_when_all_are() {
        let rolled_up = roll_up("shop", &[instance("a", "Healthy (simulated)", true)]);
        assert!(rolled_up.is_ready);
        assert_eq!(
            (rolled_up.status["health"].as_str(), rolled_up.reason.as_str()),
            (Some("Healthy (simulated)"), "Healthy")
        );
    }

    #[test]
    fn an_instance_that_nobody_looked_at_is_reconciling() {
        let new = WorkloadInstance { status: None, ..instance("a", "", false) };
        let rolled_up = roll_up("shop", &[new]);
        assert_eq!(rolled_up.status["health"], "Reconciling");
        assert!(rolled_up.message.contains("not been looked at"));
    }
}
