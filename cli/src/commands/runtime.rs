//! `tptctl runtime`: Kubernetes clusters to deploy to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use threeport::object::Object;
use threeport::v1::{KubernetesRuntimeInstance, KubernetesRuntimeInstanceSpec, ObjectMeta};
use threeport_sdk::client::ApplyOptions;

use super::apply;
use crate::error::Usage;
use crate::kubectl::{self, Kubectl};
use crate::local::Progress;
use crate::session::Session;
use crate::wait;

/// Register Kubernetes clusters
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl runtime add production --kube-context eks-production
  tptctl runtime add edge --kubeconfig edge.yaml --cluster-role edit")]
pub struct Runtime {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Add(Add),
}

/// Register a cluster that exists
///
/// Uses your own credentials once, through kubectl, to make a service account `threeport` in namespace
/// `threeport-system` for the control plane, bound to a cluster role; your credentials are not stored.
#[derive(Args, Debug)]
struct Add {
    /// The runtime's name
    name: String,
    /// kubeconfig with your credentials; kubectl's own choice when left out
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when left out
    #[arg(long, value_name = "NAME")]
    kube_context: Option<String>,
    /// The cluster role that the service account is bound to
    #[arg(long, value_name = "ROLE", default_value = "cluster-admin", conflicts_with = "inline")]
    cluster_role: String,
    /// Register the kubeconfig itself, which must hold inline data only; makes nothing in the cluster
    #[arg(long, requires = "kubeconfig", conflicts_with = "kube_context")]
    inline: bool,
    /// Where the cluster is, in the words of its provider: `eu-central-1`
    #[arg(long, default_value = "", hide_default_value = true)]
    location: String,
    /// Make it the project's default runtime; the first one is that anyhow
    #[arg(long)]
    default: bool,
    /// Wait until it is reached
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "1m", value_parser = wait::duration)]
    timeout: Duration,
}

impl Runtime {
    pub async fn run(self, session: &Session) -> Result<()> {
        match self.verb {
            Verb::Add(add) => add.run(session).await,
        }
    }
}

impl Add {
    async fn run(self, session: &Session) -> Result<()> {
        if let Some(file) = self.kubeconfig.as_ref().filter(|file| !file.exists()) {
            bail!(Usage(format!("--kubeconfig {}: no such file", file.display())));
        }
        let client = session.client()?;
        let project = session.project()?;
        // Before anything is made in the cluster.
        client.kinds().await?;
        let spec = match &self.kubeconfig {
            Some(file) if self.inline => {
                let kubeconfig =
                    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                KubernetesRuntimeInstanceSpec { kubeconfig, ..Default::default() }
            }
            _ => self.make_account(session).await?,
        };
        let spec = KubernetesRuntimeInstanceSpec { location: self.location.clone(), ..spec };
        let meta = ObjectMeta { project: project.clone(), name: self.name.clone(), ..ObjectMeta::default() };
        let runtime = KubernetesRuntimeInstance { meta: Some(meta), spec: Some(spec), status: None };
        let results = client.apply_many(vec![runtime.to_erased()], ApplyOptions::default()).await?;
        session.terminal.settle();
        apply::show(session, &results, false)?;
        let mut owner: threeport::v1::Project = client.get("", &project).await?;
        let owner_spec = owner.spec.get_or_insert_default();
        if self.default || owner_spec.default_runtime.is_empty() {
            owner_spec.default_runtime.clone_from(&self.name);
            client.update(&owner, &["spec.default_runtime"]).await?;
            session.terminal.note(format_args!("`{}` is now the default runtime of project `{project}`", self.name));
        }
        if self.wait {
            apply::wait_for(session, &client, &results, self.timeout).await?;
        }
        Ok(())
    }

    /// A service account of the control plane's own, and how it reaches the cluster.
    async fn make_account(&self, session: &Session) -> Result<KubernetesRuntimeInstanceSpec> {
        if let Some(file) = &self.kubeconfig {
            // kubectl takes an absent file for an empty one.
            std::fs::File::open(file).with_context(|| format!("reading {}", file.display()))?;
        }
        let kubectl = Kubectl::find(self.kubeconfig.as_deref(), self.kube_context.as_deref())?;
        let cluster = kubectl.cluster().await?;
        if cluster.is_insecure {
            bail!(Usage(
                "the kubeconfig skips the check of the cluster's certificate; give the cluster's authority instead"
                    .into()
            ));
        }
        session.terminal.step(&format!(
            "making service account {}/{} on {} with cluster role `{}`",
            kubectl::NAMESPACE,
            kubectl::ACCOUNT,
            cluster.server,
            self.cluster_role
        ));
        kubectl.make_account(&self.cluster_role).await?;
        let token = kubectl.token().await?;
        Ok(KubernetesRuntimeInstanceSpec {
            endpoint: cluster.server,
            ca_certificate: cluster.authority,
            token,
            ..KubernetesRuntimeInstanceSpec::default()
        })
    }
}
