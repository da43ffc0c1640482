//! Rules of Kubernetes runtimes: how to get in, from inline data only.

use serde_json::Value;
use threeport::SENSITIVE;
use threeport::json::Violation;
use threeport::v1::KubernetesRuntimeInstanceSpec;

use super::syntax::{TOKEN_WANTED, is_endpoint, is_pem, is_token};
use super::{kubeconfig, typed};

/// Everything wrong with a runtime's connection. Values shown as `(sensitive)` stay as stored and aren't looked into.
pub fn check(spec: &Value) -> Result<(), Vec<Violation>> {
    let runtime: KubernetesRuntimeInstanceSpec = typed(spec)?;
    let mut violations = Vec::new();
    let others = [
        ("endpoint", &runtime.endpoint),
        ("ca_certificate", &runtime.ca_certificate),
        ("token", &runtime.token),
        ("client_certificate", &runtime.client_certificate),
        ("client_key", &runtime.client_key),
    ];
    if runtime.kubeconfig.is_empty() {
        check_endpoint(&runtime, &mut violations);
        check_credentials(&runtime, &mut violations);
    } else {
        for (field, _) in others.into_iter().filter(|(_, text)| !text.is_empty()) {
            violations.push(Violation::new(format!("spec.{field}"), "is in the kubeconfig; give one or the other"));
        }
        if runtime.kubeconfig != SENSITIVE {
            violations.extend(kubeconfig::check(&runtime.kubeconfig));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn check_endpoint(runtime: &KubernetesRuntimeInstanceSpec, violations: &mut Vec<Violation>) {
    if runtime.endpoint.is_empty() {
        let message = "is required without a kubeconfig; give the API server's URL, or register the cluster with `tptctl runtime add`";
        violations.push(Violation::new("spec.endpoint", message));
    } else if !is_endpoint(&runtime.endpoint) {
        let message =
            format!("`{}` is no URL of an API server; write it like `https://10.0.0.1:6443`", runtime.endpoint);
        violations.push(Violation::new("spec.endpoint", message));
    }
    if !runtime.ca_certificate.is_empty() && !is_pem(&runtime.ca_certificate, "CERTIFICATE") {
        violations.push(Violation::new("spec.ca_certificate", "is no certificate in PEM; paste it from BEGIN to END"));
    }
}

fn check_credentials(runtime: &KubernetesRuntimeInstanceSpec, violations: &mut Vec<Violation>) {
    let has_certificate = !runtime.client_certificate.is_empty() || !runtime.client_key.is_empty();
    match (!runtime.token.is_empty(), has_certificate) {
        (false, false) => {
            violations.push(Violation::new("spec.token", "is required without a client certificate; give one of them"));
        }
        (true, true) => {
            violations.push(Violation::new("spec.token", "is given beside a client certificate; keep one of them"));
        }
        (true, false) if !is_token(&runtime.token) => {
            violations.push(Violation::new("spec.token", TOKEN_WANTED));
        }
        (true, false) => {}
        (false, true) => {
            if !is_pem(&runtime.client_certificate, "CERTIFICATE") {
                violations.push(Violation::new(
                    "spec.client_certificate",
                    "is no certificate in PEM; paste it from BEGIN to END",
                ));
            }
            if runtime.client_key != SENSITIVE && !is_pem(&runtime.client_key, "PRIVATE KEY") {
                violations
                    .push(Violation::new("spec.client_key", "is no private key in PEM; paste it from BEGIN to END"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
    fn fields(spec: Value) -> Vec<String> {
        check(&spec).err().unwrap_or_default().into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn one_way_in_is_taken() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nQUJD\n-----END {label}-----\n");
        let (certificate, key) = (pem("CERTIFICATE"), pem("PRIVATE KEY"));
        let endpoint = "https://10.0.0.1:6443";
        assert!(fields(json!({ "endpoint": endpoint, "token": "abc", "ca_certificate": certificate })).is_empty());
        assert!(
            fields(json!({ "endpoint": endpoint, "client_certificate": certificate, "client_key": key })).is_empty()
        );
        assert!(fields(json!({ "endpoint": endpoint, "token": SENSITIVE })).is_empty());
        assert!(fields(json!({ "kubeconfig": SENSITIVE })).is_empty());
        assert_eq!(fields(json!({})), ["spec.endpoint", "spec.token"]);
        assert_eq!(
            fields(json!({ "endpoint": "http://a", "token": "a b", "ca_certificate": "/ca.pem" })),
            ["spec.endpoint", "spec.ca_certificate", "spec.token"]
        );
        assert_eq!(fields(json!({ "endpoint": endpoint, "client_certificate": certificate })), ["spec.client_key"]);
        assert_eq!(fields(json!({ "endpoint": endpoint, "kubeconfig": SENSITIVE })), ["spec.endpoint"]);
        for bad in ["https://", "https://user:pass@host", "https://host/?a=b", "https://host#x", "host:6443"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
