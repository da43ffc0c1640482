//! nats-server and a local Kubernetes, built by Go from pinned modules into the user's cache, once.
//!
//! The module files are part of this program: their hash names the folder, so another version builds into another one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Progress, directories, programs};

/// A Go module whose files are part of this program.
pub struct Module {
    pub name: &'static str,
    pub go_mod: &'static str,
    pub go_sum: &'static str,
    /// What its programs report as their version.
    pub stamps: &'static str,
}

const TOOLS: Module = Module {
    name: "tools",
    go_mod: include_str!("../../servers/tools/go.mod"),
    go_sum: include_str!("../../servers/tools/go.sum"),
    stamps: "",
};

const KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../../servers/kubernetes/go.mod"),
    go_sum: include_str!("../../servers/kubernetes/go.sum"),
    stamps: " -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
};

const HELM_MODULE: Module = Module {
    name: "helm",
    go_mod: include_str!("../../servers/helm/go.mod"),
    go_sum: include_str!("../../servers/helm/go.sum"),
    stamps: "",
};

/// A program of a module: the package and the name that Go gives its binary.
pub struct Tool {
    pub module: &'static Module,
    pub package: &'static str,
    pub binary: &'static str,
}

const NATS: Tool = Tool { module: &TOOLS, package: "github.com/nats-io/nats-server/v2", binary: "nats-server" };
const ETCD: Tool = Tool { module: &TOOLS, package: "go.etcd.io/etcd/server/v3", binary: "server" };
const KWOK: Tool = Tool { module: &TOOLS, package: "sigs.k8s.io/kwok/cmd/kwok", binary: "kwok" };
const KUBERNETES_TOOLS: [Tool; 4] = [
    Tool { module: &KUBERNETES, package: "k8s.io/kubernetes/cmd/kube-apiserver", binary: "kube-apiserver" },
    Tool {
        module: &KUBERNETES,
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        binary: "kube-controller-manager",
    },
    Tool { module: &KUBERNETES, package: "k8s.io/kubernetes/cmd/kube-scheduler", binary: "kube-scheduler" },
    KUBECTL,
];
const KUBECTL: Tool = Tool { module: &KUBERNETES, package: "k8s.io/kubernetes/cmd/kubectl", binary: "kubectl" };

const HELM: Tool = Tool { module: &HELM_MODULE, package: "helm.sh/helm/v4/cmd/helm", binary: "helm" };
const HELM_MAJOR: u32 = 4;

/// Older ones have no `sync_interval` and fail to create buckets.
const LEAST_NATS: (u32, u32) = (2, 10);
/// How kwok's fake nodes and pods behave, below its module's folder.
const STAGES: [&str; 5] = [
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
];

/// The programs of a local Kubernetes.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kube_scheduler: PathBuf,
    pub kubectl: PathBuf,
    pub kwok: PathBuf,
    /// kwok's stage files.
    pub stages: Vec<PathBuf>,
}

/// nats-server: a recent one on the PATH, else our own, built when missing.
pub async fn nats_server(progress: &dyn Progress) -> Result<PathBuf> {
    if let Some(found) = programs::on_path("nats-server") {
        let version = programs::version_line(&found, "--version").and_then(|line| programs::version_in(&line));
        if version.is_some_and(|version| version >= LEAST_NATS) {
            return Ok(found);
        }
    }
    let cache = Cache::open()?;
    cache.ensure(&[&NATS], "nats-server", progress).await?;
    Ok(cache.0.join(NATS.binary))
}

/// How to call kubectl: that on the PATH, else the one that comes with the local Kubernetes.
pub fn kubectl() -> Result<PathBuf> {
    match programs::on_path("kubectl") {
        Some(_) => Ok("kubectl".into()),
        None => Ok(Cache::open()?.0.join(KUBECTL.binary)),
    }
}

/// Where helm is, or will be once [`helm`] has built it: one of the right version on the PATH, else our own.
pub fn helm_path() -> Result<PathBuf> {
    let version =
        |found: &PathBuf| programs::version_line(found, "version").and_then(|line| programs::version_in(&line));
    let is_fit = |found: &PathBuf| version(found).is_some_and(|(major, _)| major == HELM_MAJOR);
    match programs::on_path("helm").filter(is_fit) {
        Some(found) => Ok(found),
        None => Ok(Cache::of(&[&HELM_MODULE])?.0.join(HELM.binary)),
    }
}

/// Helm, built when missing: only charts need it.
pub async fn helm(progress: &dyn Progress) -> Result<PathBuf> {
    let path = helm_path()?;
    if path.is_file() { Ok(path) } else { build(&HELM, "helm 4", progress).await }
}

/// A program of any module, built when missing into a folder of the module's own.
pub async fn build(tool: &Tool, title: &str, progress: &dyn Progress) -> Result<PathBuf> {
    let cache = Cache::of(&[tool.module])?;
    cache.ensure(&[tool], title, progress).await?;
    Ok(cache.0.join(tool.binary))
}

/// The local Kubernetes, built when missing.
pub async fn kubernetes(progress: &dyn Progress) -> Result<Kubernetes> {
    let cache = Cache::open()?;
    cache.ensure(&[&ETCD, &KWOK], "etcd and kwok", progress).await?;
    let kubernetes: Vec<&Tool> = KUBERNETES_TOOLS.iter().collect();
    cache.ensure(&kubernetes, "Kubernetes 1.34", progress).await?;
    let stages = cache.ensure_stages().await?;
    let [kube_apiserver, kube_controller_manager, kube_scheduler, kubectl] =
        KUBERNETES_TOOLS.map(|tool| cache.0.join(tool.binary));
    Ok(Kubernetes {
        etcd: cache.0.join(ETCD.binary),
        kwok: cache.0.join(KWOK.binary),
        kube_apiserver,
        kube_controller_manager,
        kube_scheduler,
        kubectl,
        stages,
    })
}

/// The folder of what was built from these very module files.
struct Cache(PathBuf);

impl Cache {
    fn open() -> Result<Self> {
        Self::of(&[&TOOLS, &KUBERNETES])
    }

    fn of(modules: &[&Module]) -> Result<Self> {
        let folder = directories::cache()?.join("servers").join(fingerprint(modules));
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Builds the tools of one module unless all are there.
    async fn ensure(&self, tools: &[&Tool], title: &str, progress: &dyn Progress) -> Result<()> {
        let present = || tools.iter().all(|tool| self.0.join(tool.binary).is_file());
        if present() {
            return Ok(());
        }
        let lock = self.lock(progress).await?;
        if !present() {
            progress.step(&format!("building {title} with Go (once; minutes from nothing, seconds from Go's cache)"));
            self.build(tools, title, progress).await?;
        }
        drop(lock);
        Ok(())
    }

    async fn build(&self, tools: &[&Tool], title: &str, progress: &dyn Progress) -> Result<()> {
        let module = tools[0].module;
        let workplace = tempfile::Builder::new().prefix("build-").tempdir_in(&self.0).context("making a folder")?;
        let source = module.write_below(workplace.path())?;
        let output = workplace.path().join("bin");
        std::fs::create_dir(&output).with_context(|| format!("creating {}", output.display()))?;
        let mut command = go(&source)?;
        command
            .args(["build", "-v", "-trimpath", "-ldflags"])
            .arg(format!("-s -w{}", module.stamps))
            .arg("-o")
            .arg(format!("{}/", output.display()))
            .args(tools.iter().map(|tool| tool.package))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        run_go(command, title, progress).await?;
        for tool in tools {
            let (from, to) = (output.join(tool.binary), self.0.join(tool.binary));
            std::fs::rename(&from, &to).with_context(|| format!("moving {} into the cache", tool.binary))?;
        }
        Ok(())
    }

    /// Copies kwok's stage files out of Go's module cache, which may be cleaned at any time.
    async fn ensure_stages(&self) -> Result<Vec<PathBuf>> {
        let stages: Vec<PathBuf> = STAGES.iter().map(|stage| self.0.join(stage.replace('/', "-"))).collect();
        if stages.iter().all(|stage| stage.is_file()) {
            return Ok(stages);
        }
        let workplace = tempfile::Builder::new().prefix("stages-").tempdir_in(&self.0).context("making a folder")?;
        let source = TOOLS.write_below(workplace.path())?;
        let mut command = go(&source)?;
        let output = command.args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]).output().await;
        let output = output.context("running go list")?;
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("kustomize/stage");
        for (stage, copy) in STAGES.iter().zip(&stages) {
            let text = std::fs::read(folder.join(stage))
                .with_context(|| format!("kwok's module has no {stage} in {}", folder.display()))?;
            let incomplete = workplace.path().join("stage");
            std::fs::write(&incomplete, text).context("writing a stage file")?;
            std::fs::rename(&incomplete, copy).with_context(|| format!("writing {}", copy.display()))?;
        }
        Ok(stages)
    }

    /// Waits until nobody else builds into this folder.
    async fn lock(&self, progress: &dyn Progress) -> Result<std::fs::File> {
        let path = self.0.join(".lock");
        let file = std::fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut has_said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => {
                    if !has_said {
                        progress.step("waiting for another process that builds the same servers");
                        has_said = true;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }
}

impl Module {
    fn write_below(&self, folder: &Path) -> Result<PathBuf> {
        let folder = folder.join(self.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        for (name, text) in [("go.mod", self.go_mod), ("go.sum", self.go_sum)] {
            std::fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
        }
        Ok(folder)
    }
}

/// Tells the module files apart: FNV-1a, for no one attacks their own cache.
fn fingerprint(modules: &[&Module]) -> String {
    let texts = modules.iter().flat_map(|module| [module.go_mod, module.go_sum, module.stamps]);
    let hash = texts
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

fn go(directory: &Path) -> Result<tokio::process::Command> {
    let go = programs::on_path("go").or_else(|| programs::in_directories("go", ["/usr/local/go/bin".into()])).context(
        "go is not installed; install Go 1.26 or later from https://go.dev/dl (it builds nats-server and the sandbox, once)",
    )?;
    // Whatever runs meanwhile goes first.
    let mut command = match programs::on_path("nice") {
        Some(nice) => {
            let mut command = tokio::process::Command::new(nice);
            command.args(["-n", "10"]).arg(go);
            command
        }
        None => tokio::process::Command::new(go),
    };
    command.current_dir(directory).env("CGO_ENABLED", "0").env_remove("GOFLAGS").env("GOWORK", "off");
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Runs a build and tells how many packages were compiled.
async fn run_go(mut command: tokio::process::Command, title: &str, progress: &dyn Progress) -> Result<()> {
    const LINES_SHOWN: usize = 10;
    let began = Instant::now();
    let mut child = command.spawn().context("running go build")?;
    let mut lines = BufReader::new(child.stderr.take().context("go's output is not piped")?).lines();
    let (mut compiled, mut complaints) = (0, Vec::new());
    while let Some(line) = lines.next_line().await.context("reading go's output")? {
        // With -v each compiled package is a line of its import path alone.
        if line.contains(' ') || line.starts_with('#') {
            complaints.push(line);
        } else {
            compiled += 1;
        }
        progress.detail(&format!("building {title}: {compiled} packages, {} s", began.elapsed().as_secs()));
    }
    if !child.wait().await.context("waiting for go build")?.success() {
        let shown = complaints.len().saturating_sub(LINES_SHOWN);
        bail!("go could not build {title}:\n  {}", complaints[shown..].join("\n  "));
    }
    Ok(())
}
