//! The applications that the benchmark deploys: as workloads, and as the bare objects that the floor applies.

use serde_json::{Value, json};

use crate::system::document;

/// Exists before anything is measured.
pub const SHARED_NAMESPACE: &str = "bench-shared";
/// The color of everything that is new.
pub const FIRST: &str = "blue";

/// Where applications live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All in one namespace.
    Shared,
    /// Each in a namespace of its own.
    Separate,
}

/// What an application consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Service account, config map, service, and a deployment with 0 replicas.
    Four,
    /// A config map alone.
    One,
}

/// Applications of one kind.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The beginning of their names, and the value of their label `bench`.
    pub name: &'static str,
    pub mode: Mode,
    pub size: Size,
    pub count: usize,
}

impl Fleet {
    pub fn new(name: &'static str, mode: Mode, count: usize) -> Self {
        Self { name, mode, size: Size::Four, count }
    }

    pub fn app(&self, index: usize) -> String {
        format!("{}-{index:05}", self.name)
    }

    /// What a user applies. The color is in the config map alone.
    pub fn workload(&self, index: usize, color: &str) -> Value {
        let namespace = match self.mode {
            Mode::Shared => SHARED_NAMESPACE,
            Mode::Separate => "",
        };
        let spec = json!({
            "manifest": self.manifest(index, color),
            "instances": [{ "name": "main", "namespace": namespace }],
        });
        document("workload", &self.app(index), spec)
    }

    pub fn workloads(&self, color: &str) -> Vec<Value> {
        (0..self.count).map(|index| self.workload(index, color)).collect()
    }

    fn manifest(&self, index: usize, color: &str) -> String {
        let parts = MANIFEST.split("---\n");
        let parts = parts.filter(|part| self.size == Size::Four || part.contains("kind: ConfigMap"));
        let text = parts.collect::<Vec<_>>().join("---\n");
        text.replace("$NAME", &self.app(index)).replace("$LABEL", self.name).replace("$COLOR", color)
    }

    /// The same for a bare loop: each object with the path of its collection below the namespace.
    pub fn objects(&self, index: usize, color: &str) -> Vec<(&'static str, Value)> {
        let manifest = self.manifest(index, color);
        let parse = |part| serde_saphyr::from_str::<Value>(part).expect("the manifest is valid YAML");
        manifest.split("---\n").map(parse).map(|object| (place(&object), object)).collect()
    }

    /// The namespace of the bare loop's application.
    pub fn namespace(&self, index: usize) -> String {
        match self.mode {
            Mode::Shared => SHARED_NAMESPACE.to_owned(),
            Mode::Separate => self.app(index),
        }
    }
}

/// The collections that hold the objects of applications; the last one is made by the cluster.
pub const COLLECTIONS: [(&str, &str); 5] = [
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "services"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "replicasets"),
];

/// The path of an object in a namespace, or of its collection without a name.
pub fn path(collection: &str, namespace: &str, name: &str) -> String {
    let (group, _) = COLLECTIONS.iter().find(|(_, known)| *known == collection).expect("it is one of ours");
    let end = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{group}/namespaces/{namespace}/{collection}{end}")
}

fn place(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("ServiceAccount") => "serviceaccounts",
        Some("ConfigMap") => "configmaps",
        Some("Service") => "services",
        _ => "deployments",
    }
}

const MANIFEST: &str = "apiVersion: v1
kind: ServiceAccount
metadata:
  name: $NAME
  labels: {bench: $LABEL}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: $NAME
  labels: {bench: $LABEL}
data:
  color: $COLOR
---
apiVersion: v1
kind: Service
metadata:
  name: $NAME
  labels: {bench: $LABEL}
spec:
  selector: {app: $NAME}
  ports:
  - {name: http, port: 80, targetPort: 8080}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $NAME
  labels: {bench: $LABEL}
spec:
  replicas: 0
  selector:
    matchLabels: {app: $NAME}
  template:
    metadata:
      labels: {app: $NAME, bench: $LABEL}
    spec:
      serviceAccountName: $NAME
      containers:
      - name: main
        image: nginx:1.29
        ports:
        - {name: http, containerPort: 8080}
        resources:
          requests: {cpu: 100m, memory: 128Mi}
        envFrom:
        - configMapRef: {name: $NAME}
";
