//! The processes that make up a local control plane.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::instance::{Instance, Settings};
use super::process::ProcessSpec;
use super::readiness::Readiness;
use super::{Progress, nats, ports, postgres, programs, sandbox, servers};

const API_SERVER: &str = "api-server";
const CONTROLLERS: &str = "controllers";
const POSTGRES: &str = "postgres";
const NATS: &str = "nats";
/// The database of the control plane.
const DATABASE: &str = "threeport";

impl Settings {
    /// Gives every server a port, keeping those that are still free.
    pub fn assign_ports(&mut self) -> Result<()> {
        let mut names = vec![API_SERVER, CONTROLLERS];
        names.extend(self.database_url.is_none().then_some(POSTGRES));
        names.extend(self.nats_url.is_none().then_some(NATS));
        if self.sandbox {
            names.extend(sandbox::PORTS);
        }
        self.ports = ports::assign(&names, &self.ports)?;
        Ok(())
    }

    /// Finds our own programs and notes which build of them there is.
    pub fn find_programs(&mut self) -> Result<()> {
        let found = [api_server_program()?, controllers_program()?].map(|program| {
            let stamp = stamp(&program);
            (program, stamp)
        });
        self.programs = BTreeMap::from(found);
        Ok(())
    }

    /// How clients reach the API server.
    pub fn server(&self) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.port(API_SERVER)?))
    }

    fn port(&self, name: &str) -> Result<u16> {
        self.ports.get(name).copied().with_context(|| format!("no port for `{name}`; run `tptctl up` again"))
    }

    fn sandbox_ports(&self) -> Result<sandbox::Ports> {
        let [api, etcd, etcd_peer] = sandbox::PORTS.map(|name| self.port(name));
        Ok(sandbox::Ports { api: api?, etcd: etcd?, etcd_peer: etcd_peer? })
    }

    fn environment(&self) -> Vec<(String, String)> {
        let endpoint = self.otlp_endpoint.iter();
        endpoint.map(|endpoint| ("THREEPORT_OTLP_ENDPOINT".to_owned(), endpoint.clone())).collect()
    }
}

/// Builds or finds what the settings need, so that nothing long is left to the supervisor.
pub async fn prepare(settings: &Settings, progress: &dyn Progress) -> Result<()> {
    if settings.nats_url.is_none() {
        servers::nats_server(progress).await?;
    }
    if settings.sandbox {
        servers::kubernetes(progress).await?;
    }
    Ok(())
}

/// How to run all of them, in the order of their start.
pub async fn specs(instance: &Instance, settings: &Settings, progress: &dyn Progress) -> Result<Vec<ProcessSpec>> {
    let directory = &instance.directory;
    let mut specs = Vec::new();
    let database_url = if let Some(url) = &settings.database_url {
        url.clone()
    } else {
        let port = settings.port(POSTGRES)?;
        specs.push(postgres::spec(directory, port, &[], progress).await?);
        postgres::url(port, &postgres::password(directory)?, DATABASE)
    };
    let nats_url = if let Some(url) = &settings.nats_url {
        url.clone()
    } else {
        let port = settings.port(NATS)?;
        specs.push(nats::spec(directory, &servers::nats_server(progress).await?, port)?);
        nats::url(port)
    };
    if settings.sandbox {
        let programs = servers::kubernetes(progress).await?;
        specs.extend(sandbox::specs(&instance.sandbox_directory(), &programs, settings.sandbox_ports()?)?);
    }
    specs.push(api_server(instance, settings, database_url, nats_url.clone())?);
    specs.push(controllers(instance, settings, nats_url)?);
    Ok(specs)
}

/// What must be done once a server is ready and before the next one starts.
pub async fn after_start(spec: &ProcessSpec) -> Result<()> {
    match &spec.readiness {
        Readiness::Sql { url } => postgres::create_database(url, DATABASE).await,
        _ => Ok(()),
    }
}

fn api_server(instance: &Instance, settings: &Settings, database_url: String, nats_url: String) -> Result<ProcessSpec> {
    instance.user_token()?;
    let port = settings.port(API_SERVER)?;
    let mut spec = ProcessSpec::new(API_SERVER, api_server_program()?, &instance.directory)
        .arguments(["--listen", &format!("127.0.0.1:{port}")])
        .arguments(["--encryption-key-file", &text(&instance.encryption_key_file()?)])
        .arguments(["--user-token-file", &text(&instance.user_token_file())])
        .arguments(["--controller-token-file", &text(&instance.controller_token_file()?)])
        .port(port)
        .ready_when(Readiness::Http { port, path: "/readyz" });
    // The URLs may hold passwords, and everybody can read a command line.
    spec.environment = settings.environment();
    spec.environment.push(("THREEPORT_DATABASE_URL".into(), database_url));
    spec.environment.push(("THREEPORT_NATS_URL".into(), nats_url));
    Ok(spec)
}

fn controllers(instance: &Instance, settings: &Settings, nats_url: String) -> Result<ProcessSpec> {
    let port = settings.port(CONTROLLERS)?;
    let mut spec = ProcessSpec::new(CONTROLLERS, controllers_program()?, &instance.directory)
        .arguments(["--server", &settings.server()?])
        .arguments(["--token-file", &text(&instance.controller_token_file()?)])
        .arguments(["--listen", &format!("127.0.0.1:{port}")])
        .arguments(["--helm", &text(&helm_path()?)])
        .port(port)
        .ready_when(Readiness::Http { port, path: "/readyz" });
    spec.environment = settings.environment();
    spec.environment.push(("THREEPORT_NATS_URL".into(), nats_url));
    Ok(spec)
}

/// Where the user says that helm is, or where it is or will be.
fn helm_path() -> Result<PathBuf> {
    std::env::var_os("THREEPORT_HELM").map_or_else(servers::helm_path, |path| Ok(path.into()))
}

/// Builds what only some need and nothing waits for.
pub async fn build_later(progress: &dyn Progress) {
    if std::env::var_os("THREEPORT_HELM").is_none()
        && let Err(error) = servers::helm(progress).await
    {
        tracing::warn!(error = format!("{error:#}"), "helm can't be built; charts can't be deployed without it");
    }
}

fn api_server_program() -> Result<PathBuf> {
    ours("threeport-api-server")
}

fn controllers_program() -> Result<PathBuf> {
    ours("threeport-controllers")
}

fn ours(name: &str) -> Result<PathBuf> {
    programs::beside_us(name).with_context(|| {
        format!("{name} is neither beside tptctl nor on the PATH; install it there, or build it with `cargo build --workspace`")
    })
}

/// Changes when the program is replaced.
fn stamp(program: &Path) -> String {
    let metadata = program.metadata();
    let modified = metadata.as_ref().ok().and_then(|metadata| metadata.modified().ok());
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}-{}", since.as_nanos(), metadata.map_or(0, |metadata| metadata.len()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
