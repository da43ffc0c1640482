//! The plain form gives manifests that people could have written.

use serde_json::json;

use super::*;
use crate::render::manifest::parse_manifest;
use crate::render::warnings;

fn manifest(spec: Value) -> (String, Vec<Resource>) {
    let text = plain_manifest("web", &crate::json::from_json(spec).unwrap());
    let resources = parse_manifest(&text).unwrap();
    (text, resources)
}

fn kinds(resources: &[Resource]) -> Vec<String> {
    resources.iter().map(|resource| format!("{}/{}", resource.kind(), resource.name())).collect()
}

#[test]
fn root_is_refused_unless_it_is_asked_for() {
    let security = |spec: Value| {
        let (_, resources) = manifest(spec);
        let pods = resources.iter().filter(|resource| resource.kind() == "Deployment");
        let pods = pods.map(|pod| pod.value["spec"]["template"]["spec"]["securityContext"].clone());
        pods.map(|security| (security["runAsNonRoot"].clone(), security["runAsUser"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(security(json!({ "image": "a" })), [(json!(true), Value::Null)]);
    assert_eq!(security(json!({ "image": "a", "run_as_user": 0 })), [(json!(false), json!(0))]);
    let spec = json!({ "image": "a", "run_as_user": 101, "processes": { "worker": "work" } });
    assert_eq!(security(spec), [(json!(true), json!(101)), (json!(true), json!(101))]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one snapshot")]
fn a_server_gets_all_it_needs() {
    let (text, resources) = manifest(
        json!({ "image": "acme/web:1", "port": 8080, "replicas": 2, "health_path": "/healthz", "env": { "B": "2", "A": "1" } }),
    );
    assert_eq!(kinds(&resources), ["ServiceAccount/web", "Service/web", "Deployment/web", "PodDisruptionBudget/web"]);
    assert_eq!(warnings(&resources), Vec::<String>::new());
    insta::assert_snapshot!(text, @r#"
apiVersion: v1
kind: ServiceAccount
metadata:
  name: web
  labels:
    app.kubernetes.io/component: main
    app.kubernetes.io/managed-by: threeport
    app.kubernetes.io/name: web
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata:
  name: web
  labels:
    app.kubernetes.io/component: main
    app.kubernetes.io/managed-by: threeport
    app.kubernetes.io/name: web
spec:
  type: ClusterIP
  selector:
    app.kubernetes.io/component: main
    app.kubernetes.io/name: web
  ports:
  - name: main
    port: 8080
    targetPort: main
    protocol: TCP
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    app.kubernetes.io/component: main
    app.kubernetes.io/managed-by: threeport
    app.kubernetes.io/name: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app.kubernetes.io/component: main
      app.kubernetes.io/name: web
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/component: main
        app.kubernetes.io/managed-by: threeport
        app.kubernetes.io/name: web
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: acme/web:1
        ports:
        - name: main
          containerPort: 8080
          protocol: TCP
        env:
        - name: A
          value: "1"
        - name: B
          value: "2"
        resources:
          limits:
            memory: 128Mi
          requests:
            cpu: 100m
            memory: 128Mi
        startupProbe:
          httpGet:
            path: /healthz
            port: main
          failureThreshold: 60
          periodSeconds: 2
          timeoutSeconds: 2
        readinessProbe:
          httpGet:
            path: /healthz
            port: main
          failureThreshold: 3
          periodSeconds: 5
          timeoutSeconds: 2
        livenessProbe:
          httpGet:
            path: /healthz
            port: main
          failureThreshold: 6
          periodSeconds: 10
          timeoutSeconds: 2
        securityContext:
          allowPrivilegeEscalation: false
          capabilities:
            drop:
            - ALL
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
      - topologyKey: topology.kubernetes.io/zone
        labelSelector:
          matchLabels:
            app.kubernetes.io/component: main
            app.kubernetes.io/name: web
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/component: main
            app.kubernetes.io/name: web
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: web
  labels:
    app.kubernetes.io/component: main
    app.kubernetes.io/managed-by: threeport
    app.kubernetes.io/name: web
spec:
  selector:
    matchLabels:
      app.kubernetes.io/component: main
      app.kubernetes.io/name: web
  maxUnavailable: 1
"#);
}

#[test]
fn no_replicas_stay_none() {
    let (_, resources) = manifest(json!({ "image": "acme/web:1", "replicas": 0 }));
    assert_eq!(kinds(&resources), ["ServiceAccount/web", "Deployment/web"]);
    assert_eq!(resources[1].value["spec"]["replicas"], 0);
}

#[test]
fn an_autoscaler_owns_the_number_of_copies() {
    let (_, resources) = manifest(json!({ "image": "acme/web:1", "autoscale": { "min": 2, "max": 5 } }));
    assert_eq!(
        kinds(&resources),
        ["ServiceAccount/web", "Deployment/web", "HorizontalPodAutoscaler/web", "PodDisruptionBudget/web"]
    );
    assert_eq!(resources[1].value["spec"].get("replicas"), None);
    assert_eq!(resources[2].value["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
}

#[test]
fn disks_make_a_stateful_set() {
    let volumes = json!([{ "path": "/var/lib/data", "size": "1Gi" }, { "path": "/", "size": "2Gi" }, { "path": "/var-lib/data", "size": "3Gi" }]);
    let (_, resources) = manifest(json!({ "image": "acme/db:1", "volumes": volumes }));
    assert_eq!(kinds(&resources), ["ServiceAccount/web", "Service/web", "StatefulSet/web"]);
    let spec = &resources[2].value["spec"];
    let names = spec["volumeClaimTemplates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| &claim["metadata"]["name"])
        .collect::<Vec<_>>();
    assert_eq!(names, ["var-lib-data", "disk-1", "disk-2-var-lib-data"]);
    assert_eq!(
        spec["template"]["spec"]["containers"][0]["volumeMounts"][0],
        json!({ "name": "var-lib-data", "mountPath": "/var/lib/data" })
    );
}

#[test]
fn processes_run_beside_the_main_one() {
    let (_, resources) = manifest(
        json!({ "image": "acme/web:1", "port": 80, "processes": { "worker": "bin/work --queue 'a b' \"$X\"", "clock": "tick" } }),
    );
    assert_eq!(
        kinds(&resources),
        ["ServiceAccount/web", "Service/web", "Deployment/web", "Deployment/web-clock", "Deployment/web-worker"]
    );
    let worker = &resources[4].value["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(worker["command"], json!(["bin/work", "--queue", "a b", "$X"]));
    assert_eq!(worker.get("ports"), None);
    assert_ne!(resources[4].value["spec"]["selector"], resources[2].value["spec"]["selector"]);
}
