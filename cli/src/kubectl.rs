//! The user's kubectl, which knows all ways to log in to a cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::local::programs;

/// Where the control plane's service account lives.
pub const NAMESPACE: &str = "threeport-system";
/// What it is called, and its token and binding too.
pub const ACCOUNT: &str = "threeport";

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN_ATTEMPTS: u32 = 50;

pub struct Kubectl {
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a kubeconfig says of its cluster.
#[derive(Debug, PartialEq, Eq)]
pub struct Cluster {
    pub server: String,
    /// In PEM; empty if a public authority vouches for it.
    pub authority: String,
    pub is_insecure: bool,
}

impl Kubectl {
    pub fn find(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self> {
        let program = programs::on_path("kubectl")
            .context("kubectl is not on the PATH; install it, or register a kubeconfig with --inline")?;
        let mut arguments = Vec::new();
        if let Some(file) = kubeconfig {
            arguments.extend(["--kubeconfig".to_owned(), file.display().to_string()]);
        }
        if let Some(context) = context {
            arguments.extend(["--context".to_owned(), context.to_owned()]);
        }
        Ok(Self { program, arguments })
    }

    /// The cluster of the chosen context, its files read in.
    pub async fn cluster(&self) -> Result<Cluster> {
        let text = self.run(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"], None).await?;
        cluster(&serde_json::from_str(&text).context("kubectl's answer is no JSON")?)
    }

    /// Makes namespace, service account, binding and token.
    pub async fn make_account(&self, cluster_role: &str) -> Result<()> {
        let manifest = account_manifest(cluster_role).to_string();
        self.run(&["apply", "--server-side", "--field-manager", "tptctl", "-f", "-"], Some(manifest)).await.map(drop)
    }

    /// The service account's token, once the cluster has made it.
    pub async fn token(&self) -> Result<String> {
        let arguments = ["get", "secret", ACCOUNT, "--namespace", NAMESPACE, "-o", "jsonpath={.data.token}"];
        for _ in 0..TOKEN_ATTEMPTS {
            let encoded = self.run(&arguments, None).await?;
            if !encoded.trim().is_empty() {
                let bytes = BASE64_STANDARD.decode(encoded.trim()).context("the token is not base64")?;
                return String::from_utf8(bytes).context("the token is no text");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!(
            "the cluster has made no token for service account `{NAMESPACE}/{ACCOUNT}`; does its controller manager run?"
        )
    }

    async fn run(&self, arguments: &[&str], input: Option<String>) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let answered = async {
            let mut child = command.spawn().context("running kubectl")?;
            let mut stdin = child.stdin.take().context("kubectl's stdin is piped")?;
            // One that ends early says why on stderr.
            let _ = stdin.write_all(input.unwrap_or_default().as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await.context("waiting for kubectl")
        };
        let output = tokio::time::timeout(LIMIT, answered).await.with_context(|| {
            format!("kubectl does not answer within {} s; is the cluster reachable?", LIMIT.as_secs())
        })??;
        if !output.status.success() {
            bail!("kubectl {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("kubectl's answer is no text")
    }
}

/// Reads a kubeconfig that was cut down to one cluster.
fn cluster(kubeconfig: &Value) -> Result<Cluster> {
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    let server =
        cluster["server"].as_str().context("the kubeconfig names no cluster; choose one with --kube-context")?;
    let encoded = cluster["certificate-authority-data"].as_str().unwrap_or_default();
    let authority = BASE64_STANDARD.decode(encoded).context("the cluster's authority is not base64")?;
    Ok(Cluster {
        server: server.to_owned(),
        authority: String::from_utf8(authority).context("the cluster's authority is not PEM")?,
        is_insecure: cluster["insecure-skip-tls-verify"].as_bool().unwrap_or(false),
    })
}

fn account_manifest(cluster_role: &str) -> Value {
    let account = json!({ "name": ACCOUNT, "namespace": NAMESPACE });
    let token = json!({ "name": ACCOUNT, "namespace": NAMESPACE,
        "annotations": { "kubernetes.io/service-account.name": ACCOUNT } });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": account },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
          // A role can't be changed in a binding, so each has one of its own.
          "metadata": { "name": format!("{ACCOUNT}-{cluster_role}") },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_role },
          "subjects": [{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE }] },
        { "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": token },
    ] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_authority_are_read_from_a_kubeconfig() {
        let authority = BASE64_STANDARD.encode("-----BEGIN CERTIFICATE-----");
        let data = json!({ "server": "https://10.0.0.1:6443", "certificate-authority-data": authority });
        let found = cluster(&json!({ "clusters": [{ "name": "a", "cluster": data }] })).unwrap();
        assert_eq!(found.server, "https://10.0.0.1:6443");
        assert_eq!(found.authority, "-----BEGIN CERTIFICATE-----");
        assert!(!found.is_insecure);
        assert!(cluster(&json!({ "clusters": null })).is_err());
    }
}
