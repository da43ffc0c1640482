//! The `helm` program (version 4): real releases, by child processes that end with our lease.
//!
//! Architecture invariant: what is secret is handed over in files of a private folder, never in arguments or environment.

mod child;
mod folder;
mod process;
mod release;
mod words;

pub use child::{Child, run as run_child};
pub use folder::sweep;
pub use release::Release;
pub use words::{Cause, Failed};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use threeport::v1::RepositoryCredentials;
use threeport_sdk::controller::LeaseGuard;
use tokio::sync::{OnceCell, Semaphore};

use folder::Folder;
use process::Run;

/// Operations that change a cluster, at a time: each may hold 100 MB.
const CHANGES: usize = 2;
const READS: usize = 2;
/// How long Helm waits for any single hook.
const HOOK_LIMIT: &str = "5m";
/// How long a whole operation may take; Helm says something about its hooks before.
const CHANGE_LIMIT: Duration = Duration::from_mins(20);
const READ_LIMIT: Duration = Duration::from_secs(8);
const HISTORY: &str = "10";
/// What repositories and plugins are called in folders of ours.
const OURS: &str = "threeport";

/// Runs `helm`. Cheap to clone.
#[derive(Clone)]
pub struct Helm {
    program: PathBuf,
    changes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    is_fit: Arc<OnceCell<()>>,
}

/// Whose release it is, and how to get at it.
#[derive(Clone)]
pub struct Target {
    pub release: String,
    pub namespace: String,
    /// In YAML, credentials inline.
    pub kubeconfig: String,
    /// Helm is killed once it is lost.
    pub lease: LeaseGuard,
    /// What no words of Helm may repeat.
    pub secrets: Vec<String>,
}

/// A chart in a repository.
#[derive(Clone)]
pub struct Chart {
    pub repo: String,
    pub name: String,
    pub version: String,
    pub credentials: RepositoryCredentials,
}

/// What to install, or to upgrade to.
#[derive(Clone)]
pub struct Upgrade {
    pub chart: Chart,
    /// Documents of values, later ones win.
    pub values: Vec<String>,
    /// Of the release's own records.
    pub labels: BTreeMap<String, String>,
    /// What our post-renderer is told, as JSON.
    pub post_render: String,
}

impl Helm {
    /// Helm at this path, or by this name on the PATH; looked for at each call, for it may be built meanwhile.
    pub fn new(program: PathBuf) -> Self {
        let (changes, reads) = (Arc::new(Semaphore::new(CHANGES)), Arc::new(Semaphore::new(READS)));
        Self { program, changes, reads, is_fit: Arc::default() }
    }

    /// Fetches the chart, then installs it or upgrades to it; hooks run.
    pub async fn upgrade(&self, target: &Target, upgrade: &Upgrade) -> Result<(), Failed> {
        let _slot = self.changes.acquire().await;
        let folder = Folder::of(target)?;
        self.fetch(target, &folder, &upgrade.chart).await.map_err(|failed| failed.of_fetching(&target.secrets))?;
        folder.write_plugin(&upgrade.post_render)?;
        let mut arguments = vec!["upgrade".to_owned(), "--install".to_owned(), target.release.clone()];
        arguments.push(folder.chart()?);
        for (index, document) in upgrade.values.iter().enumerate() {
            arguments.push(format!("--values={}", folder.write(&format!("values-{index}.yaml"), document)?));
        }
        let labels = upgrade.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        arguments.push(format!("--labels={}", labels.join(",")));
        // Ours is forced as with workloads; what isn't the release's is refused by Helm itself.
        arguments.extend(["--server-side=true", "--force-conflicts", "--hide-notes"].map(str::to_owned));
        arguments.push(format!("--post-renderer={OURS}"));
        arguments.push(format!("--history-max={HISTORY}"));
        self.change(target, &folder, arguments).await
    }

    /// Makes an earlier revision the present one again; hooks run.
    pub async fn roll_back(&self, target: &Target, revision: i64) -> Result<(), Failed> {
        let _slot = self.changes.acquire().await;
        let folder = Folder::of(target)?;
        let arguments = ["rollback", &target.release, &revision.to_string(), "--server-side=true", "--force-conflicts"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--history-max={HISTORY}"));
        self.change(target, &folder, arguments).await
    }

    /// Takes the release away; hooks run.
    pub async fn uninstall(&self, target: &Target) -> Result<(), Failed> {
        let _slot = self.changes.acquire().await;
        let folder = Folder::of(target)?;
        let arguments = ["uninstall", &target.release, "--ignore-not-found"].map(str::to_owned).to_vec();
        self.change(target, &folder, arguments).await
    }

    /// What a revision is made of.
    pub async fn read(&self, target: &Target, revision: i64) -> Result<Release, Failed> {
        let _slot = self.reads.acquire().await;
        let folder = Folder::of(target)?;
        let arguments = [
            "get".to_owned(),
            "all".to_owned(),
            target.release.clone(),
            format!("--revision={revision}"),
            format!("--namespace={}", target.namespace),
            format!("--template={}", release::TEMPLATE),
        ];
        let text = self.run(target, &folder, &arguments, READ_LIMIT).await?;
        let mut release = Release::parse(&text).ok_or_else(|| Failed::of_ours("its record can't be read".into()))?;
        release.description = words::redacted(&release.description, &target.secrets);
        Ok(release)
    }

    async fn change(&self, target: &Target, folder: &Folder, mut arguments: Vec<String>) -> Result<(), Failed> {
        arguments.push(format!("--namespace={}", target.namespace));
        arguments.push(format!("--timeout={HOOK_LIMIT}"));
        self.run(target, folder, &arguments, CHANGE_LIMIT).await.map(drop)
    }

    /// Brings the chart's archive into the folder.
    async fn fetch(&self, target: &Target, folder: &Folder, chart: &Chart) -> Result<(), Failed> {
        let is_plain = threeport::render::charts::is_on_this_machine(&chart.repo);
        let authority = match chart.credentials.ca_certificate.as_str() {
            "" => None,
            certificate => Some(folder.write("ca.pem", certificate)?),
        };
        let mut arguments = vec!["pull".to_owned()];
        if chart.repo.starts_with("oci://") {
            folder.write_registry_login(&chart.repo, &chart.credentials)?;
            arguments.push(format!("{}/{}", chart.repo.trim_end_matches('/'), chart.name));
            // A registry on this machine that has an authority of its own speaks TLS.
            if is_plain && authority.is_none() {
                arguments.push("--plain-http".to_owned());
            }
            arguments.extend(authority.map(|path| format!("--ca-file={path}")));
        } else {
            let entry = json!({
                "name": OURS, "url": chart.repo, "username": chart.credentials.username,
                "password": chart.credentials.password, "caFile": authority.unwrap_or_default(),
            });
            let repositories = json!({ "apiVersion": "", "repositories": [entry] });
            folder.write("repositories.yaml", &repositories.to_string())?;
            let update = ["repo", "update", OURS].map(str::to_owned);
            self.run(target, folder, &update, CHANGE_LIMIT).await?;
            arguments.push(format!("{OURS}/{}", chart.name));
        }
        arguments.push(format!("--version={}", chart.version));
        arguments.push(format!("--destination={}", folder.chart_folder()?));
        self.run(target, folder, &arguments, CHANGE_LIMIT).await.map(drop)
    }

    async fn run(
        &self,
        target: &Target,
        folder: &Folder,
        arguments: &[String],
        limit: Duration,
    ) -> Result<String, Failed> {
        let run = Run { program: &self.program, target, folder, limit };
        self.is_fit.get_or_try_init(|| run.check_version()).await?;
        run.output(arguments).await
    }
}
