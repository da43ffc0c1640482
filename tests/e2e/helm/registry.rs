//! A real OCI registry on loopback, behind a password.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cli::local::process::{Process, ProcessSpec};
use cli::local::readiness::Readiness;
use cli::local::servers::{Module, Tool, build};
use serde_json::json;
use tempfile::TempDir;

use super::charts::Login;
use crate::system::{free_port, servers};

static MODULE: Module = Module {
    name: "registry",
    go_mod: include_str!("../../servers/registry/go.mod"),
    go_sum: include_str!("../../servers/registry/go.sum"),
    stamps: "",
};
static REGISTRY: Tool =
    Tool { module: &MODULE, package: "github.com/distribution/distribution/v3/cmd/registry", binary: "registry" };

/// Who may in; registries want passwords in bcrypt.
const PASSWORD: &str = "let-me-in-19";
const USERS: &str = "reader:$2y$05$.yZDAS6a4R4RtKClkwf4lODWIkQfyw.4ptD1N.T9vrSsz45ui04XG\n";

pub struct Registry {
    port: u16,
    _process: Process,
    folder: TempDir,
}

impl Registry {
    pub async fn start() -> Self {
        let program = build(&REGISTRY, "an OCI registry", &servers::Told).await.expect("a registry can be built");
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(file("users"), USERS).unwrap();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n\
             auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
            file("data"),
            file("users")
        );
        std::fs::write(file("config.yaml"), config).unwrap();
        let spec = ProcessSpec::new("registry", program, folder.path())
            .arguments(["serve", &file("config.yaml")])
            .port(port)
            .ready_when(Readiness::Http { port, path: "/" });
        let process = Process::start_ready(spec).await.expect("the registry starts");
        Self { port, _process: process, folder }
    }

    pub fn login() -> Login {
        Login { username: "reader".into(), password: PASSWORD.into() }
    }

    pub fn repo(&self) -> String {
        format!("oci://127.0.0.1:{}/charts", self.port)
    }

    /// Pushes an archive of a chart.
    pub fn push(&self, helm: &Path, archive: &Path) {
        let login = BASE64_STANDARD.encode(format!("reader:{PASSWORD}"));
        let logins = json!({ "auths": { format!("127.0.0.1:{}", self.port): { "auth": login } } });
        let file = self.folder.path().join("registry.json");
        std::fs::write(&file, logins.to_string()).unwrap();
        let mut command = Command::new(helm);
        command.args(["push", "--plain-http"]).arg(archive).arg(self.repo());
        command.env("HOME", self.folder.path()).env("HELM_REGISTRY_CONFIG", file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
