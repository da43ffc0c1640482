//! A runtime's spec as a client configuration. Inline data only: nothing is run and no file is read.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use threeport::v1::KubernetesRuntimeInstanceSpec;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Credentials that no client can be built from.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCredentials(pub String);

/// The configuration that a runtime's spec asks for.
pub fn config(spec: &KubernetesRuntimeInstanceSpec) -> Result<kube::Config, InvalidCredentials> {
    let kubeconfig = inline(spec)?;
    let mut config = kube::Config::new(endpoint(&kubeconfig)?);
    // Everything is inline by now, so that this neither reads files nor waits.
    let loaded =
        futures::executor::block_on(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()))
            .map_err(|error| InvalidCredentials(format!("the credentials can't be used: {error}")))?;
    config.root_cert = loaded.root_cert;
    config.auth_info = loaded.auth_info;
    config.tls_server_name = loaded.tls_server_name;
    config.default_namespace = "default".into();
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

/// The same as a kubeconfig that another program can use: one context, all of it inline.
pub fn kubeconfig(spec: &KubernetesRuntimeInstanceSpec) -> Result<String, InvalidCredentials> {
    let kubeconfig = inline(spec)?;
    endpoint(&kubeconfig)?;
    serde_json::to_string(&kubeconfig)
        .map_err(|error| InvalidCredentials(format!("the credentials can't be written: {error}")))
}

fn inline(spec: &KubernetesRuntimeInstanceSpec) -> Result<Kubeconfig, InvalidCredentials> {
    if spec.kubeconfig.is_empty() { from_fields(spec) } else { from_kubeconfig(&spec.kubeconfig) }
}

fn endpoint(kubeconfig: &Kubeconfig) -> Result<http::Uri, InvalidCredentials> {
    let server =
        kubeconfig.clusters.first().and_then(|named| named.cluster.as_ref()?.server.clone()).unwrap_or_default();
    let uri = server.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
    uri.ok_or_else(|| {
        InvalidCredentials(format!("`{server}` is no URL of an API server; expected `https://HOST:PORT`"))
    })
}

fn from_fields(spec: &KubernetesRuntimeInstanceSpec) -> Result<Kubeconfig, InvalidCredentials> {
    let mut user = json!({});
    if !spec.token.is_empty() {
        user["token"] = Value::from(spec.token.trim());
    }
    if !spec.client_certificate.is_empty() {
        user["client-certificate-data"] = Value::from(STANDARD.encode(&spec.client_certificate));
        user["client-key-data"] = Value::from(STANDARD.encode(&spec.client_key));
    }
    let mut cluster = json!({ "server": spec.endpoint });
    if !spec.ca_certificate.is_empty() {
        cluster["certificate-authority-data"] = Value::from(STANDARD.encode(&spec.ca_certificate));
    }
    one_context(&cluster, &user)
}

/// The current context of a kubeconfig, as its only one, without whatever could run or read something here.
fn from_kubeconfig(text: &str) -> Result<Kubeconfig, InvalidCredentials> {
    let kubeconfig = Kubeconfig::from_yaml(text)
        .map_err(|error| InvalidCredentials(format!("the kubeconfig can't be read: {error}")))?;
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let context =
        kubeconfig.contexts.iter().find(|context| context.name == current).and_then(|named| named.context.as_ref());
    let context = context.ok_or_else(|| InvalidCredentials(format!("the kubeconfig has no context `{current}`")))?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster)
        .and_then(|named| named.cluster.as_ref());
    let cluster =
        cluster.ok_or_else(|| InvalidCredentials(format!("the kubeconfig has no cluster `{}`", context.cluster)))?;
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(InvalidCredentials(
            "the kubeconfig turns TLS verification off; give certificate-authority-data".into(),
        ));
    }
    if cluster.certificate_authority.is_some() {
        return Err(InvalidCredentials("the kubeconfig names a file; give certificate-authority-data".into()));
    }
    let user_name = context.user.as_deref().unwrap_or_default();
    let user =
        kubeconfig.auth_infos.iter().find(|user| user.name == user_name).and_then(|named| named.auth_info.as_ref());
    let user = user.ok_or_else(|| InvalidCredentials(format!("the kubeconfig has no user `{user_name}`")))?;
    check_inline(user)?;
    Ok(Kubeconfig {
        clusters: kubeconfig.clusters.iter().filter(|named| named.name == context.cluster).cloned().collect(),
        auth_infos: kubeconfig.auth_infos.iter().filter(|named| named.name == user_name).cloned().collect(),
        contexts: kubeconfig.contexts.iter().filter(|named| named.name == current).cloned().collect(),
        current_context: Some(current.to_owned()),
        ..Kubeconfig::default()
    })
}

fn check_inline(user: &AuthInfo) -> Result<(), InvalidCredentials> {
    let refused = [
        (user.exec.is_some(), "an exec plugin"),
        (user.auth_provider.is_some(), "an auth provider"),
        (user.token_file.is_some() || user.client_certificate.is_some() || user.client_key.is_some(), "a file"),
    ];
    match refused.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(InvalidCredentials(format!(
            "the kubeconfig's user needs {what}; give a token or a client certificate inline"
        ))),
        None => Ok(()),
    }
}

fn one_context(cluster: &Value, user: &Value) -> Result<Kubeconfig, InvalidCredentials> {
    let kubeconfig = json!({
        "clusters": [{ "name": "runtime", "cluster": cluster }],
        "users": [{ "name": "runtime", "user": user }],
        "contexts": [{ "name": "runtime", "context": { "cluster": "runtime", "user": "runtime" } }],
        "current-context": "runtime",
    });
    serde_json::from_value(kubeconfig)
        .map_err(|error| InvalidCredentials(format!("the credentials can't be used: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(cluster: &str, user: &str) -> KubernetesRuntimeInstanceSpec {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: c, cluster: {cluster}}}]\n\
             users: [{{name: u, user: {user}}}]\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n"
        );
        KubernetesRuntimeInstanceSpec { kubeconfig, ..Default::default() }
    }

    #[test]
    fn a_kubeconfig_with_a_token_is_enough() {
        let config = config(&kubeconfig("{server: 'https://10.0.0.1:6443'}", "{token: secret}")).unwrap();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.1"));
        assert!(config.auth_info.token.is_some());
    }

    #[test]
    fn another_program_gets_the_same_credentials() {
        let spec = KubernetesRuntimeInstanceSpec {
            endpoint: "https://10.0.0.1:6443".into(),
            token: "hunter2".into(),
            ..Default::default()
        };
        let again = super::kubeconfig(&spec).unwrap();
        assert!(again.contains("hunter2"), "{again}");
        let spec = KubernetesRuntimeInstanceSpec { kubeconfig: again, ..Default::default() };
        assert!(config(&spec).unwrap().auth_info.token.is_some());
    }

    #[test]
    fn what_would_run_or_read_something_here_is_refused() {
        let server = "{server: 'https://10.0.0.1:6443'}";
        for (cluster, user, word) in [
            (server, "{exec: {command: evil, apiVersion: client.authentication.k8s.io/v1}}", "exec plugin"),
            (server, "{tokenFile: /etc/passwd}", "a file"),
            ("{server: 'https://a', certificate-authority: /etc/passwd}", "{token: a}", "names a file"),
            ("{server: 'https://a', insecure-skip-tls-verify: true}", "{token: a}", "verification off"),
        ] {
            let error = config(&kubeconfig(cluster, user)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_endpoint_must_be_a_url() {
        let spec = KubernetesRuntimeInstanceSpec { token: "a".into(), ..Default::default() };
        assert!(config(&spec).unwrap_err().to_string().contains("no URL"));
    }
}
