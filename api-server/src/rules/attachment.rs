//! Rules of attachments.

use serde_json::Value;
use threeport::json::Violation;
use threeport::v1::{AttachmentSpec, ObjectMeta};

use super::syntax::{full_reference, is_data_key, is_variable};
use super::typed;
use super::workload_definition::{check_namespaces, split};

/// Splits the manifest's secrets out and refuses what no target could take.
pub fn normalize(meta: &ObjectMeta, spec: &mut Value, previous: Option<&Value>) -> Result<(), Vec<Violation>> {
    let resources = split(spec, "manifest", "manifest_secret_data")?;
    let attachment: AttachmentSpec = typed(spec)?;
    let mut violations = check_namespaces(&resources, "spec.manifest");
    let target = &attachment.workload_instance;
    let before = previous.and_then(|previous| previous["workload_instance"].as_str()).unwrap_or_default();
    if target.is_empty() {
        violations
            .push(Violation::new("spec.workload_instance", "is required; name the workload instance that takes it"));
    } else if !before.is_empty() && full_reference(&meta.project, before) != full_reference(&meta.project, target) {
        let message = format!("the target `{before}` can't change; add a second attachment");
        violations.push(Violation::new("spec.workload_instance", message));
    }
    violations.extend(check_environment(&attachment));
    for key in attachment.secret_data.keys().filter(|key| !is_data_key(key)) {
        let message = "is no key of a Secret; use letters, digits, `-`, `_` and `.`";
        violations.push(Violation::new(format!("spec.secret_data[{key:?}]"), message));
    }
    violations.sort_by(|a, b| a.field.cmp(&b.field));
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn check_environment(attachment: &AttachmentSpec) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (field, names) in [("env", &attachment.env), ("secret_env", &attachment.secret_env)] {
        for name in names.keys().filter(|name| !is_variable(name)) {
            violations.push(Violation::new(format!("spec.{field}[{name:?}]"), "is no name of an environment variable"));
        }
    }
    for (name, key) in &attachment.secret_env {
        let place = format!("spec.secret_env[{name:?}]");
        if attachment.env.contains_key(name) {
            violations.push(Violation::new(place.clone(), "is in env too; remove one"));
        }
        if !attachment.secret_data.contains_key(key) {
            violations.push(Violation::new(place, format!("secret_data has no key `{key}`; add it")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(mut spec: Value, previous: Option<&Value>) -> Vec<String> {
        let meta = ObjectMeta { project: "shop".into(), ..Default::default() };
        let violations = normalize(&meta, &mut spec, previous).err().unwrap_or_default();
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn contributions_must_be_complete() {
        let good = json!({ "workload_instance": "web", "env": { "A": "1" }, "secret_data": { "k": "v" }, "secret_env": { "B": "k" } });
        assert_eq!(fields(good.clone(), Some(&json!({ "workload_instance": "shop/web" }))), Vec::<String>::new());
        assert_eq!(fields(good, Some(&json!({ "workload_instance": "other" }))), ["spec.workload_instance"]);
        let bad =
            json!({ "env": { "1A": "x", "B": "y" }, "secret_env": { "B": "none" }, "secret_data": { "a b": "x" } });
        assert_eq!(
            fields(bad, None),
            [
                "spec.env[\"1A\"]",
                "spec.secret_data[\"a b\"]",
                "spec.secret_env[\"B\"]",
                "spec.secret_env[\"B\"]",
                "spec.workload_instance"
            ]
        );
    }

    #[test]
    fn secrets_leave_the_manifest() {
        let mut spec = json!({ "workload_instance": "web", "manifest": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\n" });
        normalize(&ObjectMeta::default(), &mut spec, None).unwrap();
        assert!(!spec["manifest"].as_str().unwrap().contains("hunter2"));
        assert_eq!(spec["manifest_secret_data"], json!({ "/s/stringData/a": "hunter2" }));
    }
}
