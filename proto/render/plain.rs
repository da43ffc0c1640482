//! Turns the plain form of a workload (an image and how to run it) into a manifest with production defaults.
//!
//! `tptctl render --eject` shows it to people, who go on from there by hand; so it names nothing that only we understand.

mod parts;

use serde_json::{Value, json};

use super::resource::Resource;
use super::yaml::to_yaml;
use crate::v1::WorkloadSpec;
use parts::{Part, autoscaler, container, disruption_budget, pod, service, service_account, volume_claims};

/// The manifest of a plain form: always the same text for the same spec.
pub fn plain_manifest(name: &str, spec: &WorkloadSpec) -> String {
    let main = Part { workload: name, process: None };
    let mut resources = vec![service_account(&main)];
    if spec.port.is_some() || !spec.volumes.is_empty() {
        resources.push(service(&main, spec.port));
    }
    resources.push(main_process(&main, spec));
    if let Some(autoscale) = &spec.autoscale {
        resources.push(autoscaler(&main, workload_kind(spec), autoscale));
    }
    if spec.autoscale.is_some() || spec.replicas.is_some_and(|replicas| replicas > 1) {
        resources.push(disruption_budget(&main));
    }
    let mut processes = spec.processes.iter().collect::<Vec<_>>();
    processes.sort_unstable();
    for (process, line) in processes {
        resources.push(side_process(&Part { workload: name, process: Some(process) }, line, spec));
    }
    to_yaml(&resources.into_iter().map(Resource::new).collect::<Vec<_>>())
}

/// The words of a command line, as a POSIX shell splits them; none when a quote isn't closed.
pub fn words(line: &str) -> Option<Vec<String>> {
    shlex::split(line).filter(|words| !words.is_empty())
}

fn workload_kind(spec: &WorkloadSpec) -> &'static str {
    if spec.volumes.is_empty() { "Deployment" } else { "StatefulSet" }
}

/// What serves: a stateful set when it has disks.
fn main_process(part: &Part, spec: &WorkloadSpec) -> Value {
    let mut container = container(part, spec);
    if !spec.command.is_empty() {
        container["command"] = json!(spec.command);
    }
    if !spec.args.is_empty() {
        container["args"] = json!(spec.args);
    }
    if let Some(port) = spec.port {
        parts::serve(&mut container, port, &spec.health_path);
    }
    let claims = volume_claims(&spec.volumes);
    if !claims.is_empty() {
        let mounts = claims.iter().zip(&spec.volumes);
        container["volumeMounts"] =
            mounts.map(|(claim, v)| json!({ "name": claim["metadata"]["name"], "mountPath": v.path })).collect();
    }
    let mut workload = workload(part, workload_kind(spec), &pod(part, spec, &container, !claims.is_empty()));
    // With an autoscaler the number is its own: writing it here would set it back.
    if spec.autoscale.is_none() {
        workload["spec"]["replicas"] = json!(spec.replicas.unwrap_or(1));
    }
    if !claims.is_empty() {
        workload["spec"]["serviceName"] = json!(part.name());
        workload["spec"]["volumeClaimTemplates"] = json!(claims);
    }
    workload
}

/// What runs beside it: no port, no disk, one copy.
fn side_process(part: &Part, line: &str, spec: &WorkloadSpec) -> Value {
    let mut container = container(part, spec);
    container["command"] = json!(words(line).unwrap_or_else(|| vec![line.to_owned()]));
    let mut workload = workload(part, "Deployment", &pod(part, spec, &container, false));
    workload["spec"]["replicas"] = json!(1);
    workload
}

fn workload(part: &Part, kind: &str, template: &Value) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": part.name(), "labels": part.labels() },
        "spec": { "selector": { "matchLabels": part.selector() }, "template": template },
    });
    if kind == "Deployment" {
        // New copies are ready before old ones go.
        workload["spec"]["strategy"] =
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } });
    }
    workload
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
