//! What an apply did, for people: outcomes, fields before and after, children below.

use threeport::v1::{ApplyResult, Difference};

use crate::view;

/// Longer values are cut: a manifest's difference is better read with `render`.
const VALUE_LIMIT: usize = 120;

/// One result and its children, a line each: `workload/web updated`, then `  spec.replicas: 1 → 2`.
pub fn lines(result: &ApplyResult, is_dry_run: bool) -> Vec<String> {
    let mut lines = Vec::new();
    add(result, is_dry_run, 0, &mut lines);
    lines
}

fn add(result: &ApplyResult, is_dry_run: bool, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let title = result.object.as_ref().map(view::title).unwrap_or_default();
    let suffix = if is_dry_run && result.outcome != "unchanged" { " (dry run)" } else { "" };
    lines.push(format!("{indent}{title} {}{suffix}", result.outcome));
    if result.outcome == "updated" {
        lines.extend(result.differences.iter().map(|difference| format!("{indent}  {}", line(difference))));
    }
    for child in result.children.iter().filter(|child| child.outcome != "unchanged") {
        add(child, is_dry_run, depth + 1, lines);
    }
}

/// `spec.replicas: 1 → 2`; lines of long texts that differ stand below.
pub fn line(difference: &Difference) -> String {
    let Difference { path, before, after } = difference;
    match (before.is_empty(), after.is_empty()) {
        (true, _) => format!("{path}: + {}", short(after)),
        (_, true) => format!("{path}: - {}", short(before)),
        _ => match (text(before), text(after)) {
            (Some(before), Some(after)) if before.contains('\n') || after.contains('\n') => {
                format!("{path}:{}", changed_lines(&before, &after))
            }
            _ => format!("{path}: {} → {}", short(before), short(after)),
        },
    }
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn short(json: &str) -> String {
    if json.chars().count() <= VALUE_LIMIT {
        return json.to_owned();
    }
    json.chars().take(VALUE_LIMIT).chain(['…']).collect()
}

/// The lines between the common beginning and the common end.
fn changed_lines(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - start;
    let end = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let removed = before[start..before.len() - end].iter().map(|line| format!("\n    - {line}"));
    let added = after[start..after.len() - end].iter().map(|line| format!("\n    + {line}"));
    removed.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::view::tests::object;

    fn difference(path: &str, before: &Value, after: &Value) -> Difference {
        let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        Difference { path: path.into(), before: text(before), after: text(after) }
    }

    #[test]
    fn fields_are_shown_before_and_after_and_children_below() {
        let child = ApplyResult {
            object: Some(object("workload-instance", "web-eu", json!({}), Value::Null)),
            outcome: "created".into(),
            ..ApplyResult::default()
        };
        let result = ApplyResult {
            object: Some(object("workload", "web", json!({}), Value::Null)),
            outcome: "updated".into(),
            differences: vec![
                difference("spec.replicas", &json!(1), &json!(2)),
                difference("spec.env[\"A\"]", &Value::Null, &json!("b")),
                difference("spec.manifest", &json!("a: 1\nb: 2\nc: 3\n"), &json!("a: 1\nb: 5\nc: 3\n")),
            ],
            children: vec![child, ApplyResult { outcome: "unchanged".into(), ..ApplyResult::default() }],
            ..ApplyResult::default()
        };
        insta::assert_snapshot!(lines(&result, true).join("\n"), @r#"
        workload/web updated (dry run)
          spec.replicas: 1 → 2
          spec.env["A"]: + "b"
          spec.manifest:
            - b: 2
            + b: 5
          workload-instance/web-eu created (dry run)
        "#);
    }
}
