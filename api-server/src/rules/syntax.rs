//! What texts in specs must look like.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use threeport::json::Violation;
use threeport::render::namespaces::is_label;

/// The longest name of an object.
pub const MAX_NAME: usize = 63;

/// Whether a text is `name` or `project/name`.
pub fn is_reference(text: &str) -> bool {
    match text.split_once('/') {
        Some((project, name)) => is_label(project) && is_label(name),
        None => is_label(text),
    }
}

/// A reference with its project spelled out, to compare.
pub fn full_reference(project: &str, text: &str) -> String {
    if text.is_empty() || text.contains('/') { text.to_owned() } else { format!("{project}/{text}") }
}

/// The units of quantities.
const SUFFIXES: &[&str] = &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Whether a text is a Kubernetes quantity: `250m`, `1.5Gi`, `1e3`.
pub fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
    let is_exponent = |suffix: &str| {
        let exponent = suffix.strip_prefix(['e', 'E']).unwrap_or_default();
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit())
    };
    is_number && (SUFFIXES.contains(&suffix) || is_exponent(suffix))
}

/// Whether a text can name an environment variable in Kubernetes.
pub fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// Whether a text can be a key of a Secret or config map.
pub fn is_data_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key != "."
        && key != ".."
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// What is said of a token that can't be one.
pub const TOKEN_WANTED: &str = "holds spaces, line breaks or letters that no token has; paste the bare token";

/// Whether a text can be a bearer token: it becomes part of a header.
pub fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text holds at least one PEM block, all of them with a label that ends as given and readable content.
pub fn is_pem(text: &str, label: &str) -> bool {
    let mut blocks = 0;
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let Some((name, block)) = block.split_once("-----") else { return false };
        let Some((body, after)) = block.split_once(&format!("-----END {name}-----")) else { return false };
        let body = body.split_whitespace().collect::<String>();
        if !name.ends_with(label) || body.is_empty() || BASE64.decode(body).is_err() {
            return false;
        }
        (blocks, rest) = (blocks + 1, after);
    }
    blocks > 0
}

/// A violation unless the text is empty or a namespace that workloads may use.
pub fn check_namespace(field: &str, namespace: &str) -> Option<Violation> {
    if namespace.is_empty() {
        None
    } else if !is_label(namespace) {
        Some(Violation::new(field, format!("`{namespace}` is no DNS label (1 to 63 of a-z, 0-9 and -)")))
    } else if namespace.starts_with("kube-") {
        Some(Violation::new(field, format!("namespace `{namespace}` is Kubernetes' own; choose another")))
    } else {
        None
    }
}

/// Whether a text is an https URL without credentials, query or fragment.
pub fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    uri.scheme_str() == Some("https")
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.query().is_none()
        && !text.contains(['@', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for good in ["1", "250m", "1.5Gi", ".5", "1e3", "2E-2", "0", "128Mi", "3E"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1x", "1.2.3", "1 Gi", "-", "1GiB", "1e", "."] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }

    #[test]
    fn references_are_one_or_two_labels() {
        assert!(is_reference("web") && is_reference("platform/web"));
        assert!(!is_reference("") && !is_reference("a/b/c") && !is_reference("/web") && !is_reference("Web"));
        assert_eq!(full_reference("shop", "web"), "shop/web");
        assert_eq!(full_reference("shop", "platform/web"), "platform/web");
    }

    #[test]
    fn pem_is_looked_into() {
        let pem = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        assert!(is_pem(pem, "CERTIFICATE") && is_pem(&pem.repeat(2), "CERTIFICATE"));
        assert!(is_pem(&pem.replace("CERTIFICATE", "EC PRIVATE KEY"), "PRIVATE KEY"));
        assert!(
            !is_pem(pem, "PRIVATE KEY")
                && !is_pem(&pem.replace("QUJD", "?"), "CERTIFICATE")
                && !is_pem("/etc/ca.pem", "CERTIFICATE")
        );
    }

    #[test]
    fn a_token_fits_into_a_header() {
        assert!(is_token("abc.DEF-1_2"));
        assert!(!is_token("abc\n") && !is_token("a b") && !is_token("\u{e4}"));
    }

    #[test]
    fn kubernetes_own_namespaces_are_refused() {
        assert_eq!(check_namespace("spec.namespace", "shop"), None);
        assert!(check_namespace("spec.namespace", "kube-system").is_some());
        assert!(check_namespace("spec.namespace", "A").is_some());
    }
}
