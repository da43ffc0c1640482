//! Kubeconfigs that are safe to act on: the current context, with inline data only.
//!
//! Whatever would run a program, read a file of ours or skip a check is refused by its path, such as
//! `spec.kubeconfig.users[0].user.exec`. Other contexts aren't used and aren't looked into.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use threeport::json::Violation;
use threeport::render::yaml;

use super::syntax::{TOKEN_WANTED, is_endpoint, is_pem, is_token};

const PLACE: &str = "spec.kubeconfig";

/// What a cluster must not have, and what to do instead.
const CLUSTER_REFUSED: &[(&str, &str)] = &[
    ("certificate-authority", "is a path of a file on your machine; inline it as certificate-authority-data"),
    ("insecure-skip-tls-verify", "would trust anybody; give certificate-authority-data instead"),
    ("proxy-url", "isn't supported; name an endpoint that is reachable from the control plane"),
];
/// What a user must not have, and what to do instead.
const USER_REFUSED: &[(&str, &str)] = &[
    (
        "exec",
        "would run a program in the control plane; register the cluster with `tptctl runtime add`, which makes a service account",
    ),
    (
        "auth-provider",
        "needs a program of your machine; register the cluster with `tptctl runtime add`, which makes a service account",
    ),
    ("client-certificate", "is a path of a file on your machine; inline it as client-certificate-data"),
    ("client-key", "is a path of a file on your machine; inline it as client-key-data"),
    ("tokenFile", "is a path of a file on your machine; inline it as token"),
    (
        "as",
        "would act as somebody else; give that user's own credentials, or register the cluster with `tptctl runtime add`",
    ),
    ("as-uid", "would act as somebody else; drop it"),
    ("as-groups", "would act as somebody else; drop it"),
    ("as-user-extra", "would act as somebody else; drop it"),
    ("username", "is no longer supported by Kubernetes; use a token or a client certificate"),
    ("password", "is no longer supported by Kubernetes; use a token or a client certificate"),
];

/// Everything wrong with a kubeconfig; says where, never what it holds.
pub fn check(text: &str) -> Vec<Violation> {
    let config = match yaml::read(text) {
        Ok(Some(config)) if config.is_object() => config,
        Ok(_) => {
            return vec![Violation::new(
                PLACE,
                "is no kubeconfig; paste what `kubectl config view --raw --minify --flatten` prints",
            )];
        }
        Err(mistake) => {
            let message = format!("kubeconfig:{}:{}: {}", mistake.line, mistake.column, mistake.message);
            return vec![Violation::new(PLACE, message)];
        }
    };
    let current = config["current-context"].as_str().unwrap_or_default();
    let Some((place, context)) = named(&config, "contexts", "context", current) else {
        let message = format!("`{current}` is no context of it; set current-context to one of contexts");
        return vec![Violation::new(format!("{PLACE}.current-context"), message)];
    };
    let mut violations = Vec::new();
    for (list, field) in [("clusters", "cluster"), ("users", "user")] {
        let name = context[field].as_str().unwrap_or_default();
        match named(&config, list, field, name) {
            Some((place, cluster)) if field == "cluster" => check_cluster(&place, cluster, &mut violations),
            Some((place, user)) => check_user(&place, user, &mut violations),
            None => {
                violations.push(Violation::new(format!("{place}.{field}"), format!("`{name}` is missing from {list}")));
            }
        }
    }
    violations
}

/// An entry of a list by its name, with the path of what it holds.
fn named<'a>(config: &'a Value, list: &str, field: &str, name: &str) -> Option<(String, &'a Value)> {
    let entries = config[list].as_array()?;
    let index = entries.iter().position(|entry| entry["name"] == name && !name.is_empty())?;
    Some((format!("{PLACE}.{list}[{index}].{field}"), &entries[index][field]))
}

fn refuse(place: &str, value: &Value, refused: &[(&str, &str)], violations: &mut Vec<Violation>) {
    for (field, message) in refused {
        let is_given = !matches!(&value[field], Value::Null | Value::Bool(false)) && value[field] != "";
        if is_given {
            violations.push(Violation::new(format!("{place}.{field}"), *message));
        }
    }
}

fn check_cluster(place: &str, cluster: &Value, violations: &mut Vec<Violation>) {
    refuse(place, cluster, CLUSTER_REFUSED, violations);
    if !cluster["server"].as_str().is_some_and(is_endpoint) {
        let message = "is no https URL of an API server; write it like `https://10.0.0.1:6443`";
        violations.push(Violation::new(format!("{place}.server"), message));
    }
    check_data(place, cluster, "certificate-authority-data", "CERTIFICATE", violations);
}

fn check_user(place: &str, user: &Value, violations: &mut Vec<Violation>) {
    let before = violations.len();
    refuse(place, user, USER_REFUSED, violations);
    check_data(place, user, "client-certificate-data", "CERTIFICATE", violations);
    check_data(place, user, "client-key-data", "PRIVATE KEY", violations);
    let has = |field: &str| user[field].as_str().is_some_and(|text| !text.is_empty());
    if user["token"].as_str().is_some_and(|token| !is_token(token)) {
        violations.push(Violation::new(format!("{place}.token"), TOKEN_WANTED));
    }
    let has_pair = has("client-certificate-data") && has("client-key-data");
    if violations.len() == before && !has("token") && !has_pair {
        violations.push(Violation::new(
            place,
            "has no credentials; give a token, or client-certificate-data with client-key-data",
        ));
    }
}

/// Refuses data that isn't PEM in base64.
fn check_data(place: &str, value: &Value, field: &str, label: &str, violations: &mut Vec<Violation>) {
    let Some(text) = value[field].as_str().filter(|text| !text.is_empty()) else { return };
    let compact = text.split_whitespace().collect::<String>();
    let pem = BASE64.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if !pem.is_some_and(|pem| is_pem(&pem, label)) {
        let message = format!("is no {} in PEM in base64", label.to_lowercase());
        violations.push(Violation::new(format!("{place}.{field}"), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts:\n- {{name: other, context: {{cluster: x, user: x}}}}\n- {{name: a, context: {{cluster: c, user: u}}}}\nclusters:\n- name: c\n  cluster: {{server: 'https://10.0.0.1:6443', {cluster}}}\nusers:\n- {{name: x, user: {{exec: {{command: sh}}}}}}\n- name: u\n  user: {{{user}}}\n"
        )
    }

    fn fields(text: &str) -> Vec<String> {
        check(text).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn inline_data_is_taken() {
        let pem = |label: &str| BASE64.encode(format!("-----BEGIN {label}-----\nQUJD\n-----END {label}-----\n"));
        let (certificate, key) = (pem("CERTIFICATE"), pem("RSA PRIVATE KEY"));
        assert!(fields(&config(&format!("certificate-authority-data: {certificate}"), "token: abc")).is_empty());
        let pair = format!("client-certificate-data: {certificate}, client-key-data: {key}");
        assert!(fields(&config("insecure-skip-tls-verify: false", &pair)).is_empty());
    }

    #[test]
    fn whatever_is_not_inline_is_refused_by_its_path() {
        let user = "spec.kubeconfig.users[1].user";
        let cluster = "spec.kubeconfig.clusters[0].cluster";
        let cases = [
            ("", "exec: {command: aws}", format!("{user}.exec")),
            ("", "auth-provider: {name: gcp}", format!("{user}.auth-provider")),
            ("", "token: a, tokenFile: /x", format!("{user}.tokenFile")),
            ("", "client-certificate: /x, token: a", format!("{user}.client-certificate")),
            ("", "token: a, client-key: /x", format!("{user}.client-key")),
            ("", "token: a, as: admin", format!("{user}.as")),
            ("", "token: a, as-groups: [admins]", format!("{user}.as-groups")),
            ("", "", user.to_owned()),
            ("", "token: 'a b'", format!("{user}.token")),
            ("certificate-authority: /x", "token: a", format!("{cluster}.certificate-authority")),
            ("insecure-skip-tls-verify: true", "token: a", format!("{cluster}.insecure-skip-tls-verify")),
            ("proxy-url: 'http://x'", "token: a", format!("{cluster}.proxy-url")),
            ("certificate-authority-data: eHg=", "token: a", format!("{cluster}.certificate-authority-data")),
        ];
        for (in_cluster, in_user, expected) in cases {
            assert_eq!(fields(&config(in_cluster, in_user)), [expected], "{in_cluster} {in_user}");
        }
    }

    #[test]
    fn broken_ones_say_where_and_show_nothing() {
        assert_eq!(fields("current-context: b"), ["spec.kubeconfig.current-context"]);
        assert_eq!(fields("just text"), ["spec.kubeconfig"]);
        let violations = check("token: hunter2\nusers: [hunter2\n");
        assert!(violations[0].description.starts_with("kubeconfig:"), "{violations:?}");
        assert!(!format!("{violations:?}").contains("hunter2"), "{violations:?}");
        let dangling = config("", "token: a").replace("name: c\n", "name: d\n");
        assert_eq!(fields(&dangling), ["spec.kubeconfig.contexts[1].context.cluster"]);
    }
}
