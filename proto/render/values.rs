//! Inputs of definitions and the values that instances give: typed, guarded, set on parsed resources.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;

use serde_json::Value;

use super::path::Step;
use super::resource::Resource;
use super::secrets;
use super::select::{Selector, describe};
use crate::json::{Violation, from_struct_value};
use crate::spelling::closest;
use crate::v1::{FieldSelector, Input};

/// The types that an input may have.
pub const TYPES: &[&str] = &["string", "integer", "number", "boolean", "array", "object"];

/// Everything wrong with a definition's inputs, as violations of the field `inputs`.
pub fn check_inputs(inputs: &[Input], resources: &[Resource]) -> Vec<Violation> {
    check_inputs_with(inputs, &mut |target, sample| set(&mut resources.to_vec(), target, sample))
}

/// How a target takes a value.
pub type Setter<'a> = dyn FnMut(&FieldSelector, &Value) -> Result<(), String> + 'a;

/// The same for inputs whose targets are tried by `set`.
pub fn check_inputs_with(inputs: &[Input], set: &mut Setter<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut names = BTreeSet::new();
    for (index, input) in inputs.iter().enumerate() {
        let place = format!("inputs[{index}]");
        let mut wrong =
            |field: &str, message: String| violations.push(Violation::new(format!("{place}.{field}"), message));
        if !is_input_name(&input.name) {
            wrong("name", format!("`{}` is no name; use letters, digits, `_` and `-`, a letter first", input.name));
        } else if !names.insert(&input.name) {
            wrong("name", format!("`{}` is the name of another input; choose a new one", input.name));
        }
        if !TYPES.contains(&input.r#type.as_str()) {
            wrong("type", format!("`{}` is no type; use one of {}", input.r#type, TYPES.join(", ")));
            continue;
        }
        let allowed = allowed(input);
        for (position, value) in allowed.iter().enumerate().filter(|(_, value)| !has_type(value, &input.r#type)) {
            wrong(&format!("allowed[{position}]"), format!("{value} isn't {}", a_type(&input.r#type)));
        }
        if let Some(default) = &input.default {
            let default = from_struct_value(default.clone());
            if let Err(message) = check_value(input, &default) {
                wrong("default", message);
            }
        }
        if input.default.is_some() && input.required == Some(true) {
            wrong("required", "a required input needs no default; drop one of them".to_owned());
        }
        if input.targets.is_empty() {
            wrong("targets", "an input sets at least one field; add a target".to_owned());
        }
        let sample = allowed.first().cloned().unwrap_or_else(|| sample(&input.r#type));
        for (position, target) in input.targets.iter().enumerate() {
            if let Err(message) = set(target, &sample) {
                wrong(&format!("targets[{position}]"), message);
            }
        }
    }
    violations
}

fn is_input_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Sets the values, or defaults, of all inputs; violations are of the field `values`.
pub fn apply<S: BuildHasher>(
    resources: &mut [Resource],
    inputs: &[Input],
    values: &HashMap<String, prost_types::Value, S>,
) -> Vec<Violation> {
    apply_with(inputs, values, "patches", &mut |target, value| set(resources, target, value))
}

/// Hands the values, or defaults, of all inputs to `set`; `instead` is what a value without an input may be given by.
pub fn apply_with<S: BuildHasher>(
    inputs: &[Input],
    values: &HashMap<String, prost_types::Value, S>,
    instead: &str,
    set: &mut Setter<'_>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let names = inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>();
    for name in values.keys().filter(|name| !names.contains(name)).collect::<BTreeSet<_>>() {
        violations.push(Violation::new(format!("values.{name}"), unknown(name, &names, instead)));
    }
    for input in inputs {
        let place = format!("values.{}", input.name);
        let Some(value) = values.get(&input.name).or(input.default.as_ref()) else {
            if input.required == Some(true) {
                violations.push(Violation::new(place, format!("is required: {}", purpose(input))));
            }
            continue;
        };
        let value = from_struct_value(value.clone());
        if let Err(message) = check_value(input, &value) {
            violations.push(Violation::new(place, message));
            continue;
        }
        for target in &input.targets {
            if let Err(message) = set(target, &value) {
                violations.push(Violation::new(place.clone(), message));
            }
        }
    }
    violations
}

fn unknown(name: &str, names: &[String], instead: &str) -> String {
    match closest(name, names) {
        Some(near) => format!("the definition has no input `{name}`; did you mean `{near}`?"),
        None if names.is_empty() => format!("the definition has no input `{name}`, nor any other; use {instead}"),
        None => format!("the definition has no input `{name}`; it has {}", names.join(", ")),
    }
}

fn purpose(input: &Input) -> String {
    if input.description.is_empty() { a_type(&input.r#type) } else { input.description.clone() }
}

fn allowed(input: &Input) -> Vec<Value> {
    input.allowed.iter().cloned().map(from_struct_value).collect()
}

fn check_value(input: &Input, value: &Value) -> Result<(), String> {
    if !has_type(value, &input.r#type) {
        return Err(format!("expected {}, found {value}", a_type(&input.r#type)));
    }
    let allowed = allowed(input);
    if !allowed.is_empty() && !allowed.contains(value) {
        let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("{value} isn't allowed; use one of {allowed}"));
    }
    Ok(())
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn a_type(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn sample(wanted: &str) -> Value {
    match wanted {
        "string" => Value::from(""),
        "boolean" => Value::from(false),
        "array" => Value::from(Vec::<Value>::new()),
        "object" => Value::Object(BTreeMap::<String, Value>::new().into_iter().collect()),
        _ => Value::from(1),
    }
}

/// Sets a value at a target.
///
/// # Errors
/// When it hits nothing, something is in the way, or it would put a Secret's value where everybody sees it.
fn set(resources: &mut [Resource], target: &FieldSelector, value: &Value) -> Result<(), String> {
    let selector = Selector::new(target)?;
    let value = if wants_strings(selector.path.steps()) { as_string(value) } else { value.clone() };
    let mut places = 0;
    for index in selector.select(resources) {
        let resource = &mut resources[index];
        let before = secrets::contents(resource);
        places += selector.path.set(&mut resource.value, &value).map_err(|message| format!("{resource}: {message}"))?;
        if secrets::contents(resource) != before {
            return Err(format!(
                "values are no secrets, and `{}` is a Secret's; keep it in the definition's manifest or in an attachment's secret_data",
                target.path
            ));
        }
    }
    if places == 0 {
        return Err(format!("target `{}` hits nothing in {}", target.path, describe(target.resource.as_ref())));
    }
    Ok(())
}

/// Whether Kubernetes takes nothing but strings at a path: maps of strings, environment variables and arguments.
fn wants_strings(steps: &[Step]) -> bool {
    const MAPS: &[&str] = &["data", "stringData", "labels", "annotations", "matchLabels", "nodeSelector"];
    let is_key =
        |step: Option<&Step>, names: &[&str]| matches!(step, Some(Step::Key(key)) if names.contains(&key.as_str()));
    let before = |distance: usize| steps.len().checked_sub(distance).and_then(|index| steps.get(index));
    let is_map_entry = matches!(before(1), Some(Step::Key(_))) && is_key(before(2), MAPS);
    let is_environment = is_key(before(1), &["value"]) && is_key(before(3), &["env"]);
    let is_argument = !matches!(before(1), Some(Step::Key(_))) && is_key(before(2), &["command", "args"]);
    is_map_entry || is_environment || is_argument
}

fn as_string(value: &Value) -> Value {
    if value.is_string() { value.clone() } else { Value::from(value.to_string()) }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
