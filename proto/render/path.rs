//! Paths of fields in resources: `spec.template.spec.containers[name=web].image`, `metadata.labels["a.b/c"]`.
//!
//! A path is keys joined by dots; brackets hold an index (`[0]`), a match on an element's field (`[name=web]`), every
//! element (`[*]`), or a quoted key (`["a.b/c"]`).

use std::str::FromStr;

use serde_json::Value;

use super::resource::object;

/// A parsed path; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
    /// The elements whose field has this value, compared as text.
    Match {
        key: String,
        value: String,
    },
    /// Every element.
    Each,
}

/// Lists whose elements a path can't make: a container is more than the field that a path sets.
const NEVER_MADE: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

impl FieldPath {
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// All values at this path.
    pub fn get<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.get(value)).collect();
        }
        found
    }

    /// Whether the field itself, or what would hold it, is there.
    pub fn has_parent(&self, value: &Value) -> bool {
        let (last, parents) = self.0.split_last().expect("a path is never empty");
        let found = if parents.is_empty() { vec![value] } else { Self(parents.to_vec()).get(value) };
        found.iter().any(|parent| match last {
            Step::Key(_) => parent.is_object(),
            other => !other.get(parent).is_empty(),
        })
    }

    /// Sets the field, making maps and list elements on the way; says in how many places.
    ///
    /// # Errors
    /// When something on the way is neither absent nor of the shape that the path says.
    pub fn set(&self, value: &mut Value, to: &Value) -> Result<usize, String> {
        set(&self.0, value, to, "")
    }

    /// Takes the field away wherever it is.
    pub fn remove(&self, value: &mut Value) {
        remove(&self.0, value);
    }
}

impl Step {
    fn get<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Key(key), Value::Object(fields)) => fields.get(key).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => items.get(*index).into_iter().collect(),
            (Step::Match { .. }, Value::Array(items)) => items.iter().filter(|item| self.matches(item)).collect(),
            (Step::Each, Value::Array(items)) => items.iter().collect(),
            _ => Vec::new(),
        }
    }

    fn matches(&self, item: &Value) -> bool {
        let Step::Match { key, value } = self else { return matches!(self, Step::Each) };
        match &item[key.as_str()] {
            Value::String(text) => text == value,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
            Value::Bool(scalar) => value == if *scalar { "true" } else { "false" },
            Value::Number(scalar) => value.parse::<serde_json::Number>().is_ok_and(|value| value == *scalar),
        }
    }
}

fn set(steps: &[Step], value: &mut Value, to: &Value, list: &str) -> Result<usize, String> {
    let Some((step, rest)) = steps.split_first() else {
        *value = to.clone();
        return Ok(1);
    };
    match step {
        Step::Key(key) => {
            if !value.is_object() && !value.is_null() {
                return Err(format!("`{key}` is below something that isn't a map"));
            }
            let places = set(rest, object(value).entry(key.as_str()).or_insert(Value::Null), to, key)?;
            if places == 0 && value[key.as_str()].is_null() {
                object(value).remove(key);
            }
            Ok(places)
        }
        Step::Index(index) => match value.get_mut(*index) {
            Some(item) => set(rest, item, to, ""),
            None => Ok(0),
        },
        Step::Each | Step::Match { .. } => set_elements(step, rest, value, to, list),
    }
}

fn set_elements(step: &Step, rest: &[Step], value: &mut Value, to: &Value, list: &str) -> Result<usize, String> {
    if !value.is_array() && !value.is_null() {
        return Err(format!("`{list}` isn't a list"));
    }
    let mut places = 0;
    for item in value.as_array_mut().into_iter().flatten().filter(|item| step.matches(item)) {
        places += set(rest, item, to, "")?;
    }
    if let Step::Match { key, value: wanted } = step
        && places == 0
        && !NEVER_MADE.contains(&list)
        && !value.as_array().is_some_and(|items| items.iter().any(|item| step.matches(item)))
    {
        let mut item = serde_json::json!({ key.as_str(): wanted });
        places = set(rest, &mut item, to, "")?;
        if places > 0 {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            value.as_array_mut().expect("checked above").push(item);
        }
    }
    Ok(places)
}

fn remove(steps: &[Step], value: &mut Value) {
    match (steps, value) {
        ([Step::Key(key)], Value::Object(fields)) => {
            fields.remove(key);
        }
        ([Step::Index(index)], Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
        }
        ([step @ (Step::Match { .. } | Step::Each)], Value::Array(items)) => items.retain(|item| !step.matches(item)),
        ([Step::Key(key), rest @ ..], Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(key) {
                remove(rest, value);
            }
        }
        ([Step::Index(index), rest @ ..], Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                remove(rest, item);
            }
        }
        ([step, rest @ ..], Value::Array(items)) => {
            items.iter_mut().filter(|item| step.matches(item)).for_each(|item| remove(rest, item));
        }
        _ => {}
    }
}

impl FromStr for FieldPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let step;
            if let Some(bracket) = rest.strip_prefix('[') {
                (step, rest) = bracketed(bracket).ok_or_else(|| malformed(text))?;
                if steps.is_empty() && !matches!(step, Step::Key(_)) {
                    return Err(malformed(text));
                }
            } else {
                let key =
                    if steps.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(|| malformed(text))? };
                let end = key.find(['.', '[', ']', '"']).unwrap_or(key.len());
                if end == 0 {
                    return Err(malformed(text));
                }
                step = Step::Key(key[..end].to_owned());
                rest = &key[end..];
            }
            steps.push(step);
        }
        if steps.is_empty() { Err(malformed(text)) } else { Ok(Self(steps)) }
    }
}

fn malformed(text: &str) -> String {
    format!(
        "`{text}` is no field path; write it like `spec.template.spec.containers[name=web].image` or `metadata.labels[\"a.b/c\"]`"
    )
}

/// What stands in brackets, and the text after them.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    if text.starts_with('"') {
        let (key, rest) = quoted(text)?;
        return Some((Step::Key(key), rest.strip_prefix(']')?));
    }
    let end = text.find([']', '='])?;
    let (head, rest) = text.split_at(end);
    if let Some(rest) = rest.strip_prefix('=') {
        let (value, rest) = if rest.starts_with('"') {
            let (value, rest) = quoted(rest)?;
            (value, rest.strip_prefix(']')?)
        } else {
            let (value, rest) = rest.split_once(']')?;
            (value.to_owned(), rest)
        };
        return (!head.is_empty()).then(|| (Step::Match { key: head.to_owned(), value }, rest));
    }
    let step = if head == "*" { Step::Each } else { Step::Index(head.parse().ok()?) };
    Some((step, &rest[1..]))
}

/// A double-quoted string, with JSON's escapes, and the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let string = strings.next()?.ok()?;
    Some((string, &text[strings.byte_offset()..]))
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_plain = |text: &str| !text.is_empty() && !text.contains(['.', '[', ']', '"', '=']);
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if !is_plain(key) => write!(f, "[{}]", Value::from(key.as_str()))?,
                Step::Key(key) if index == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Match { key, value } if is_plain(value) => write!(f, "[{key}={value}]")?,
                Step::Match { key, value } => write!(f, "[{key}={}]", Value::from(value.as_str()))?,
                Step::Each => write!(f, "[*]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
