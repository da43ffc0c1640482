//! Whether all that was wanted is there. What is there beside it (defaults, what others set) doesn't matter.

use serde_json::Value;

/// Where `found` lacks or differs from what `wanted` sets, as `path: wanted, found`.
pub fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare(wanted, found, "", &mut all);
    all
}

fn compare(wanted: &Value, found: &Value, path: &str, all: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), _) => {
            for (name, value) in wanted {
                compare(value, &found[name.as_str()], &format!("{path}.{name}"), all);
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(wanted, found, &format!("{path}[{index}]"), all);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        // Empty and absent mean the same.
        (Value::Array(wanted), Value::Null) if wanted.is_empty() => {}
        _ if wanted == found => {}
        _ => all.push(format!("{path}: {wanted}, {found}")),
    }
}
