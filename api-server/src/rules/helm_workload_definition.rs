//! Rules of charts: where they come from, and the values that all instances share.

use serde_json::Value;
use threeport::SENSITIVE;
use threeport::json::Violation;
use threeport::render::charts;
use threeport::v1::{HelmWorkloadDefinitionSpec, RepositoryCredentials};

use super::syntax::is_pem;
use super::typed;

/// Everything wrong with a chart's definition by itself. Values shown as `(sensitive)` stay as stored and aren't looked into.
pub fn check(spec: &Value) -> Result<(), Vec<Violation>> {
    let definition: HelmWorkloadDefinitionSpec = typed(spec)?;
    let mut violations = Vec::new();
    let mut wrong = |field: &str, message: Option<String>| {
        violations.extend(message.map(|message| Violation::new(format!("spec.{field}"), message)));
    };
    wrong("repo", wrong_repository(&definition.repo));
    wrong("chart", wrong_chart(&definition.chart));
    wrong("chart_version", wrong_version(&definition.chart_version));
    wrong("values_document", wrong_document(&definition.values_document));
    if definition.secret_values != SENSITIVE {
        wrong("secret_values", wrong_document(&definition.secret_values));
    }
    if let Some(credentials) = &definition.repo_credentials {
        check_credentials(credentials, &mut violations);
    }
    violations.extend(charts::check_inputs(&definition.inputs).into_iter().map(|violation| violation.below("spec")));
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// What is wrong with a document of values, with its place in it.
pub fn wrong_document(text: &str) -> Option<String> {
    let mistake = charts::check_document(text).err()?;
    Some(format!("values:{}:{}: {}", mistake.line, mistake.column, mistake.message))
}

/// Charts are programs: on the way through a network nobody else may change them.
fn wrong_repository(repo: &str) -> Option<String> {
    if repo.is_empty() {
        return Some(
            "is required; write `https://charts.example.com` or `oci://registry.example.com/charts`".to_owned(),
        );
    }
    let uri = repo.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let is_plain = uri.as_ref().is_some_and(|uri| uri.query().is_none()) && !repo.contains(['@', '#']);
    let scheme = uri.as_ref().and_then(http::Uri::scheme_str).unwrap_or_default();
    match scheme {
        "https" | "oci" if is_plain && !host.is_empty() => None,
        "http" if is_plain && charts::is_on_this_machine(repo) => None,
        "http" if is_plain => {
            Some(format!("`{repo}` is unencrypted: anybody on the way could change the chart; use https"))
        }
        _ => Some(format!(
            "`{repo}` is no repository; write `https://charts.example.com` or `oci://registry.example.com/charts`, credentials apart"
        )),
    }
}

fn wrong_chart(chart: &str) -> Option<String> {
    if chart.is_empty() {
        return Some("is required; name the chart in the repository".to_owned());
    }
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    let is_name = chart.len() <= 250 && chart.split('/').all(is_part);
    (!is_name).then(|| format!("`{chart}` is no chart's name; write it as in the repository, without its version"))
}

/// An exact version: what a range means changes under a release without anybody's edit.
fn wrong_version(version: &str) -> Option<String> {
    if version.is_empty() {
        return Some("is required; write the exact version, such as `1.2.3`".to_owned());
    }
    let (core, rest) = version.split_once(['-', '+']).unwrap_or((version, ""));
    let core = core.strip_prefix('v').unwrap_or(core);
    let is_number = |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_exact = core.split('.').count() == 3
        && core.split('.').all(is_number)
        && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-.+".contains(c));
    (!is_exact).then(|| format!("`{version}` is no exact version; write it like `1.2.3`"))
}

fn check_credentials(credentials: &RepositoryCredentials, violations: &mut Vec<Violation>) {
    let mut wrong = |field: &str, message: &str| {
        violations.push(Violation::new(format!("spec.repo_credentials.{field}"), message));
    };
    match (credentials.username.is_empty(), credentials.password.is_empty()) {
        (true, false) => wrong("username", "is required beside a password"),
        (false, true) => wrong("password", "is required beside a user"),
        _ => {}
    }
    if credentials.username.contains(|c: char| c.is_control() || c == ':') {
        wrong("username", "holds a colon or a line break; paste the bare name");
    }
    if credentials.password.contains(char::is_control) {
        wrong("password", "holds a line break; paste the bare password");
    }
    if !credentials.ca_certificate.is_empty() && !is_pem(&credentials.ca_certificate, "CERTIFICATE") {
        wrong("ca_certificate", "is no certificate in PEM; paste it from BEGIN to END");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better bare")]
    fn problems(change: Value) -> Vec<String> {
        let mut spec = json!({ "repo": "https://charts.example.com", "chart": "web", "chart_version": "1.2.3" });
        for (field, value) in change.as_object().unwrap() {
            spec[field] = value.clone();
        }
        check(&spec).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chart_is_named_with_an_exact_version() {
        for good in ["1.2.3", "v1.2.3", "1.2.3-rc.1+build"] {
            assert!(problems(json!({ "chart_version": good })).is_empty(), "{good}");
        }
        for bad in ["", "^1.2.3", "1.2", "1.x.3", "latest", "1.2.3 "] {
            assert_eq!(problems(json!({ "chart_version": bad })).len(), 1, "{bad}");
        }
        assert!(problems(json!({ "chart": "stable/web" })).is_empty());
        for bad in ["", "--version", "../web", "a//b", "we b"] {
            assert_eq!(problems(json!({ "chart": bad })).len(), 1, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for good in ["https://a.example/charts", "oci://r.example:5000/x", "http://127.0.0.1:8080", "http://[::1]:1/x"]
        {
            assert!(problems(json!({ "repo": good })).is_empty(), "{good}");
        }
        for bad in
            ["", "charts", "http://charts.example.com", "https://user:pass@host", "file:///etc", "https://h/?x=y"]
        {
            assert_eq!(problems(json!({ "repo": bad })).len(), 1, "{bad}");
        }
    }

    #[test]
    fn malformed_values_are_refused_with_their_place() {
        assert_eq!(problems(json!({ "values_document": "a: 1\nb: [1\n" })).len(), 1);
        let found = problems(json!({ "values_document": "a: 1\n  b: 2\n" }));
        assert!(found[0].starts_with("spec.values_document: values:2:"), "{found:?}");
        assert!(problems(json!({ "secret_values": "x: {" }))[0].starts_with("spec.secret_values: values:"));
        assert!(problems(json!({ "secret_values": SENSITIVE })).is_empty());
    }

    #[test]
    fn credentials_are_whole() {
        let fields = |credentials: Value| problems(json!({ "repo_credentials": credentials })).len();
        assert_eq!(fields(json!({ "username": "u", "password": "p" })), 0);
        assert_eq!(fields(json!({ "username": "u" })), 1);
        assert_eq!(fields(json!({ "password": "p" })), 1);
        assert_eq!(fields(json!({ "username": "a:b", "password": "p\nq", "ca_certificate": "/etc/ca" })), 3);
    }
}
