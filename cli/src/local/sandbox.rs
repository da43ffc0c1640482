//! A real Kubernetes API with simulated nodes: pods turn Ready at once and nothing runs.

mod certificates;

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::process::{Process, ProcessSpec};
use super::readiness::Readiness;
use super::servers::Kubernetes;
use super::{Progress, directories, ports, secret, servers};

/// The names of its ports, for [`ports::assign`].
pub const PORTS: [&str; 3] = ["kube-apiserver", "etcd", "etcd-peer"];

/// A running sandbox; dropped, it ends.
#[derive(Debug)]
pub struct Sandbox {
    /// In the order of their start.
    processes: Vec<Process>,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl Sandbox {
    /// Starts one with its state in `directory`.
    pub async fn start(directory: &Path, progress: &dyn Progress) -> Result<Self> {
        let programs = servers::kubernetes(progress).await?;
        let numbers = ports::free(3)?;
        let places = Ports { api: numbers[0], etcd: numbers[1], etcd_peer: numbers[2] };
        Self::start_on(directory, places, &programs).await
    }

    /// As [`Sandbox::start`], on these ports: again after it was dropped, say.
    pub async fn start_on(directory: &Path, ports: Ports, programs: &Kubernetes) -> Result<Self> {
        let mut processes = Vec::new();
        for spec in specs(directory, programs, ports)? {
            processes.push(Process::start_ready(spec).await?);
        }
        Ok(Self { processes, kubeconfig: kubeconfig_path(directory), kubectl: programs.kubectl.clone() })
    }

    /// Where its kubeconfig is, for an administrator.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its kubeconfig, with inline data only.
    pub fn kubeconfig(&self) -> Result<String> {
        std::fs::read_to_string(&self.kubeconfig).with_context(|| format!("reading {}", self.kubeconfig.display()))
    }

    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Ends it at once; dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        while self.processes.pop().is_some() {}
    }
}

/// Where the sandbox listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub api: u16,
    pub etcd: u16,
    pub etcd_peer: u16,
}

/// Where the kubeconfig of the sandbox in `directory` is.
pub fn kubeconfig_path(directory: &Path) -> PathBuf {
    directory.join("kubeconfig")
}

/// What to type to look into the sandbox in `directory`.
pub fn kubectl_line(directory: &Path) -> Result<String> {
    let (kubectl, kubeconfig) = (servers::kubectl()?, kubeconfig_path(directory));
    Ok(format!("{} --kubeconfig {} get pods --all-namespaces", kubectl.display(), kubeconfig.display()))
}

/// How to run it, in the order of its start; writes keys, certificates and configuration at first.
pub fn specs(directory: &Path, programs: &Kubernetes, ports: Ports) -> Result<Vec<ProcessSpec>> {
    directories::create(directory)?;
    let token = secret::kept(&directory.join("token"), secret::random_text)?;
    secret::write(&directory.join("tokens.csv"), &format!("{token},admin,admin,system:masters\n"))?;
    let authority = certificates::ensure(directory)?;
    let kubeconfig = kubeconfig_path(directory);
    secret::write(&kubeconfig, &kubeconfig_text(ports.api, &authority, &token))?;
    let furniture = directory.join("furniture.yaml");
    std::fs::write(&furniture, FURNITURE).with_context(|| format!("writing {}", furniture.display()))?;
    share_volumes(Path::new(VOLUMES))?;
    let with_kubectl = |arguments: &[&str]| Readiness::Program {
        program: programs.kubectl.clone(),
        arguments: [&["--kubeconfig", &kubeconfig.display().to_string()], arguments]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    Ok(vec![
        etcd(directory, programs, ports),
        api_server(directory, programs, ports).ready_when(with_kubectl(&["get", "--raw", "/readyz"])),
        controller_manager(directory, programs),
        scheduler(directory, programs),
        kwok(directory, programs).ready_when(with_kubectl(&["apply", "-f", &furniture.display().to_string()])),
    ])
}

fn etcd(directory: &Path, programs: &Kubernetes, ports: Ports) -> ProcessSpec {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    ProcessSpec::new("etcd", programs.etcd.clone(), directory)
        .arguments(["--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "error"])
        .arguments(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .arguments(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .arguments(["--initial-cluster", &format!("default={peer}")])
        .port(ports.etcd)
        .ready_when(Readiness::Http { port: ports.etcd, path: "/health" })
}

fn api_server(directory: &Path, programs: &Kubernetes, ports: Ports) -> ProcessSpec {
    ProcessSpec::new("kube-apiserver", programs.kube_apiserver.clone(), directory)
        .arguments(["--etcd-servers", &format!("http://127.0.0.1:{}", ports.etcd)])
        .arguments(["--secure-port", &ports.api.to_string(), "--bind-address", "127.0.0.1"])
        .arguments([
            "--tls-cert-file",
            certificates::SERVER_CERTIFICATE,
            "--tls-private-key-file",
            certificates::SERVER_KEY,
        ])
        .arguments(["--token-auth-file", "tokens.csv", "--anonymous-auth=false", "--authorization-mode", "RBAC"])
        .arguments(["--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged=true"])
        .arguments(["--service-account-issuer", "https://kubernetes.default.svc"])
        .arguments(["--service-account-key-file", certificates::SERVICE_ACCOUNT_PUBLIC_KEY])
        .arguments(["--service-account-signing-key-file", certificates::SERVICE_ACCOUNT_KEY])
        .port(ports.api)
}

fn controller_manager(directory: &Path, programs: &Kubernetes) -> ProcessSpec {
    // With the default of 20 requests a second a new namespace's service account comes seconds late.
    ProcessSpec::new("kube-controller-manager", programs.kube_controller_manager.clone(), directory)
        .arguments([
            "--kubeconfig",
            "kubeconfig",
            "--service-account-private-key-file",
            certificates::SERVICE_ACCOUNT_KEY,
        ])
        .arguments(["--use-service-account-credentials=true", "--root-ca-file", certificates::AUTHORITY])
        .arguments(["--leader-elect=false", "--secure-port=0", "--kube-api-qps", "500", "--kube-api-burst", "1000"])
        .arguments(["--concurrent-namespace-syncs", "100", "--enable-hostpath-provisioner=true"])
        // Pods of a node whose heartbeat is late are marked unready, and only a kubelet would mark them ready again.
        .arguments(["--node-monitor-grace-period", "8760h"])
}

fn scheduler(directory: &Path, programs: &Kubernetes) -> ProcessSpec {
    ProcessSpec::new("kube-scheduler", programs.kube_scheduler.clone(), directory)
        .arguments(["--kubeconfig", "kubeconfig", "--leader-elect=false", "--secure-port=0"])
        .arguments(["--kube-api-qps", "500", "--kube-api-burst", "1000"])
}

fn kwok(directory: &Path, programs: &Kubernetes) -> ProcessSpec {
    ProcessSpec::new("kwok", programs.kwok.clone(), directory)
        .arguments(["--kubeconfig", "kubeconfig", "--server-address", "127.0.0.1:0"])
        .arguments(["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"])
        // Without leases the node goes NotReady after 50 seconds, and its pods with it.
        .arguments(["--node-lease-duration-seconds=40"])
        .arguments(programs.stages.iter().map(|stage| format!("--config={}", stage.display())))
}

fn kubeconfig_text(port: u16, authority: &str, token: &str) -> String {
    let authority = BASE64_STANDARD.encode(authority);
    format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: sandbox, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority-data: {authority}}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
contexts: [{{name: sandbox, context: {{cluster: sandbox, user: admin}}}}]
current-context: sandbox
"
    )
}

/// Where the controller manager makes the folders of volumes; the place is its own choice.
const VOLUMES: &str = "/tmp/hostpath_pv";

/// Whoever starts a sandbox first makes the folder for all users of the machine, as `/tmp` itself is.
fn share_volumes(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(0o1777))
            .with_context(|| format!("sharing {}", folder.display())),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).with_context(|| format!("creating {}", folder.display())),
    }
}

/// A node, and a class of storage for claims that name none.
const FURNITURE: &str = r#"apiVersion: v1
kind: Node
metadata: {name: node-1, annotations: {kwok.x-k8s.io/node: fake}, labels: {kubernetes.io/os: linux, kubernetes.io/arch: amd64, type: kwok}}
status: {allocatable: {cpu: "6400", memory: 25600Gi, pods: "50000"}, capacity: {cpu: "6400", memory: 25600Gi, pods: "50000"}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: sandbox, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/host-path
"#;
