//! A Postgres server with a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::account::Account;
use super::process::{Process, ProcessSpec, command_as};
use super::readiness::Readiness;
use super::{Progress, directories, ports, programs, secret};

/// The superuser that the control plane connects as.
const USER: &str = "threeport";

/// A running Postgres; dropped, it ends.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    password: String,
}

impl Postgres {
    /// Starts one in `directory`, which it initializes at first.
    pub async fn start(directory: &Path, progress: &dyn Progress) -> Result<Self> {
        Self::start_on(directory, ports::free(1)?[0], &[], progress).await
    }

    /// As [`Postgres::start`], on this port and with more settings, such as `fsync=off` for a test.
    pub async fn start_on(directory: &Path, port: u16, settings: &[&str], progress: &dyn Progress) -> Result<Self> {
        let password = password(directory)?;
        let spec = spec(directory, port, settings, progress).await?;
        Ok(Self { process: Process::start_ready(spec).await?, port, password })
    }

    /// How clients reach this database of it.
    pub fn url(&self, database: &str) -> String {
        url(self.port, &self.password, database)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Makes a database unless there is one of this name, and answers its URL.
    pub async fn create_database(&self, database: &str) -> Result<String> {
        create_database(&self.url("postgres"), database).await?;
        Ok(self.url(database))
    }
}

/// How clients reach a database.
pub fn url(port: u16, password: &str, database: &str) -> String {
    format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}")
}

/// The superuser's password, made on first use.
pub fn password(directory: &Path) -> Result<String> {
    directories::create(directory)?;
    secret::kept(&directory.join("postgres-password"), secret::random_text)
}

/// Makes a database unless there is one of this name; `server` is the URL of another one.
pub async fn create_database(server: &str, database: &str) -> Result<()> {
    let (client, connection) =
        tokio_postgres::connect(server, tokio_postgres::NoTls).await.context("connecting to postgres")?;
    let driver = tokio::spawn(connection);
    let known = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&database]).await;
    if known.context("listing databases")?.is_none() {
        let statement = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
        client.batch_execute(&statement).await.with_context(|| format!("creating database `{database}`"))?;
    }
    drop(client);
    driver.abort();
    Ok(())
}

/// How to run it; installs the programs where that can be done and initializes the data directory at first.
pub async fn spec(directory: &Path, port: u16, settings: &[&str], progress: &dyn Progress) -> Result<ProcessSpec> {
    let programs = Programs::find_or_install(progress).await?;
    let account = Account::for_servers()?;
    let data = directory.join("postgres");
    if !data.join("PG_VERSION").is_file() {
        progress.step("initializing a Postgres data directory");
        initialize(&programs, account.as_ref(), directory, &data).await?;
    }
    let password = password(directory)?;
    let mut spec = ProcessSpec::new("postgres", programs.postgres, directory)
        .arguments(["-D", &data.display().to_string(), "-p", &port.to_string()])
        .port(port)
        .ready_when(Readiness::Sql { url: url(port, &password, "postgres") });
    // No unix socket: its path would have to be short, and the password guards loopback as well.
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        .into_iter()
        .chain(settings.iter().copied())
    {
        spec = spec.arguments(["-c", setting]);
    }
    // SIGTERM would wait for every client to leave.
    spec.stop_signal = Signal::SIGINT;
    spec.abort_signal = Signal::SIGQUIT;
    spec.working_directory = data;
    spec.account = account;
    Ok(spec)
}

async fn initialize(programs: &Programs, account: Option<&Account>, directory: &Path, data: &Path) -> Result<()> {
    directories::create(directory)?;
    if let Some(account) = account {
        account.check_reach(data)?;
    }
    // Initialized beside and renamed, so that one that was interrupted is begun anew.
    let fresh = tempfile::Builder::new().prefix("postgres-").tempdir_in(directory).context("making a folder")?;
    let password_file = fresh.path().join("password");
    secret::write(&password_file, &password(directory)?)?;
    let target = fresh.path().join("data");
    if let Some(account) = account {
        account.own(fresh.path())?;
        account.own(&password_file)?;
    }
    let mut command = command_as(account, None, &programs.initdb)?;
    command
        .arg("--pgdata")
        .arg(&target)
        .arg("--pwfile")
        .arg(&password_file)
        .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"])
        .current_dir(fresh.path())
        .stdin(Stdio::null());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await.context("running initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    std::fs::rename(&target, data).with_context(|| format!("moving the data directory to {}", data.display()))
}

/// The programs of one installation.
struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
}

impl Programs {
    /// On the PATH, else the newest in the distribution's folders.
    fn find() -> Option<Self> {
        let mut packaged: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt", "/usr/local/opt"]
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path().join("bin")))
            .collect();
        packaged.sort_by_key(|path| std::cmp::Reverse(programs::version_in(&format!("{}.0", major(path)))));
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain(packaged).find_map(|folder| {
            let find = |name| programs::in_directories(name, [folder.clone()]);
            // A link on the PATH leads to the folder with the libraries and templates of the same version.
            let real = |found: PathBuf| found.canonicalize().unwrap_or(found);
            Some(Self { initdb: real(find("initdb")?), postgres: real(find("postgres")?) })
        })
    }

    async fn find_or_install(progress: &dyn Progress) -> Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        if super::account::is_root() && programs::on_path("apt-get").is_some() {
            progress.step("installing Postgres with apt-get");
            install().await?;
        }
        Self::find().context(
            "postgres is not installed; install it (Debian: `apt install postgresql`, Fedora: `dnf install postgresql-server`, \
             macOS: `brew install postgresql`) or give a running one with --database-url",
        )
    }
}

/// `15` of `/usr/lib/postgresql/15/bin`.
fn major(bin: &Path) -> String {
    let folder = bin.parent().and_then(Path::file_name).unwrap_or_default();
    folder.to_string_lossy().trim_start_matches(|character: char| !character.is_ascii_digit()).to_owned()
}

/// Installs Debian's package without the cluster that it would make and start.
async fn install() -> Result<()> {
    const SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";
    if !Path::new(SETTINGS).exists() {
        std::fs::create_dir_all("/etc/postgresql-common").context("creating /etc/postgresql-common")?;
        std::fs::write(SETTINGS, "create_main_cluster = false\n").with_context(|| format!("writing {SETTINGS}"))?;
    }
    let install = ["install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "postgresql"];
    for arguments in [&["update"][..], &install] {
        let mut command = tokio::process::Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_mins(10), command.output())
            .await
            .context("apt-get takes longer than 10 minutes; install postgresql by hand")?
            .context("running apt-get")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("apt-get {} failed: {}; install postgresql by hand", arguments[0], reason.trim());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_folder_above_bin() {
        assert_eq!(major(Path::new("/usr/lib/postgresql/15/bin")), "15");
        assert_eq!(major(Path::new("/opt/homebrew/opt/postgresql@17/bin")), "17");
    }
}
