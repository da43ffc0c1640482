//! The pieces that plain manifests are made of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::v1::{Autoscale, Volume, WorkloadSpec};

/// The group that owns disks, so that processes without root can write to them: `nonroot` in most base images.
const DISK_GROUP: u32 = 65532;

/// One process of a workload.
pub struct Part<'a> {
    pub workload: &'a str,
    /// None for the main one.
    pub process: Option<&'a str>,
}

impl Part<'_> {
    pub fn name(&self) -> String {
        self.process.map_or_else(|| self.workload.to_owned(), |process| format!("{}-{process}", self.workload))
    }

    /// What tells its pods from all others; never changes, because selectors can't.
    pub fn selector(&self) -> Value {
        json!({ "app.kubernetes.io/name": self.workload, "app.kubernetes.io/component": self.process.unwrap_or("main") })
    }

    pub fn labels(&self) -> Value {
        let mut labels = self.selector();
        labels["app.kubernetes.io/managed-by"] = "threeport".into();
        labels
    }

    fn metadata(&self) -> Value {
        json!({ "name": self.name(), "labels": self.labels() })
    }
}

/// An account of its own without a token: nothing in the cluster may be read by default.
pub fn service_account(part: &Part) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": part.metadata(), "automountServiceAccountToken": false })
}

/// Without a port it only names the pods of a stateful set.
pub fn service(part: &Part, port: Option<u32>) -> Value {
    let spec = match port {
        Some(port) => json!({
            "type": "ClusterIP",
            "selector": part.selector(),
            "ports": [{ "name": "main", "port": port, "targetPort": "main", "protocol": "TCP" }],
        }),
        None => json!({ "clusterIP": "None", "selector": part.selector() }),
    };
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": part.metadata(), "spec": spec })
}

pub fn autoscaler(part: &Part, kind: &str, autoscale: &Autoscale) -> Value {
    let min = autoscale.min.unwrap_or(1);
    let target = json!({ "type": "Utilization", "averageUtilization": autoscale.cpu.unwrap_or(80) });
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": part.metadata(),
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": kind, "name": part.name() },
            "minReplicas": min,
            "maxReplicas": autoscale.max.unwrap_or(min),
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": target } }],
        },
    })
}

/// Drained nodes take one copy at a time.
pub fn disruption_budget(part: &Part) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": part.metadata(),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": part.selector() } },
    })
}

/// A container with what all processes share.
pub fn container(part: &Part, spec: &WorkloadSpec) -> Value {
    let mut container = json!({
        "name": part.process.unwrap_or(part.workload),
        "image": spec.image,
        "resources": resources(spec),
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
    });
    let env = spec.env.iter().collect::<BTreeMap<_, _>>();
    if !env.is_empty() {
        container["env"] = env.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    }
    container
}

fn resources(spec: &WorkloadSpec) -> Value {
    let given = spec.resources.clone().unwrap_or_default();
    let or = |value: String, default: &str| if value.is_empty() { default.to_owned() } else { value };
    let memory = or(given.memory, "128Mi");
    let mut resources = json!({
        "requests": { "cpu": or(given.cpu, "100m"), "memory": memory },
        "limits": { "memory": or(given.memory_limit, &memory) },
    });
    if !given.cpu_limit.is_empty() {
        resources["limits"]["cpu"] = given.cpu_limit.into();
    }
    resources
}

/// Opens a port and watches it: two minutes to start, then traffic only while it answers, and a restart when it stays silent.
pub fn serve(container: &mut Value, port: u32, health_path: &str) {
    container["ports"] = json!([{ "name": "main", "containerPort": port, "protocol": "TCP" }]);
    let probe = |period: u32, failures: u32| {
        let mut probe = json!({ "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 2 });
        if health_path.is_empty() {
            probe["tcpSocket"] = json!({ "port": "main" });
        } else {
            probe["httpGet"] = json!({ "path": health_path, "port": "main" });
        }
        probe
    };
    container["startupProbe"] = probe(2, 60);
    container["readinessProbe"] = probe(5, 3);
    container["livenessProbe"] = probe(10, 6);
}

/// A pod template: not root unless that is asked for, spread over nodes and zones where that is possible.
pub fn pod(part: &Part, spec: &WorkloadSpec, container: &Value, has_disks: bool) -> Value {
    let is_root = spec.run_as_user == Some(0);
    let mut security = json!({ "runAsNonRoot": !is_root, "seccompProfile": { "type": "RuntimeDefault" } });
    if let Some(user) = spec.run_as_user {
        security["runAsUser"] = user.into();
    }
    if has_disks {
        security["fsGroup"] = DISK_GROUP.into();
        security["fsGroupChangePolicy"] = "OnRootMismatch".into();
    }
    let spread = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"].map(|topology| {
        json!({
            "topologyKey": topology,
            "maxSkew": 1,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": part.selector() },
        })
    });
    json!({
        "metadata": { "labels": part.labels() },
        "spec": {
            "serviceAccountName": part.workload,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": security,
            "containers": [container],
            "topologySpreadConstraints": spread,
        },
    })
}

/// A claim for each disk, named after its path.
pub fn volume_claims(volumes: &[Volume]) -> Vec<Value> {
    let mut names: Vec<String> = Vec::new();
    for volume in volumes {
        let mut name = volume.path.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        name = name.trim_matches('-').chars().take(40).collect();
        name.truncate(name.trim_end_matches('-').len());
        if name.is_empty() || names.contains(&name) {
            name = format!("disk-{}{}{name}", names.len(), if name.is_empty() { "" } else { "-" });
        }
        names.push(name);
    }
    let claims = names.iter().zip(volumes).map(|(name, volume)| {
        json!({
            "metadata": { "name": name },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": volume.size } } },
        })
    });
    claims.collect()
}
