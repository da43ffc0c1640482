//! From objects to YAML documents that read back as the same objects.

use serde::Serialize;
use serde_json::Value;
use threeport::json::from_struct;
use threeport::v1::Object;

use super::VERSION;
use crate::Error;

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    project: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    labels: Value,
    #[serde(skip_serializing_if = "is_empty")]
    annotations: Value,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    shared_with: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Value>,
}

/// Documents of what users may set, apart by `---`. Sensitive values read `(sensitive)`, which keeps what is stored.
///
/// # Errors
/// When an object can't be written as YAML.
pub fn to_yaml(objects: &[Object]) -> Result<String, Error> {
    let documents = objects.iter().map(document).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

fn document(object: &Object) -> Result<String, Error> {
    let meta = object.meta.clone().unwrap_or_default();
    let document = Document {
        version: VERSION,
        kind: &object.kind,
        project: &meta.project,
        name: &meta.name,
        labels: sorted(meta.labels),
        annotations: sorted(meta.annotations),
        shared_with: &meta.shared_with,
        spec: object.spec.clone().map(from_struct),
    };
    let options = serde_saphyr::ser_options! { prefer_block_scalars: true };
    serde_saphyr::to_string_with_options(&document, options).map_err(|error| Error::Malformed {
        kind: object.kind.clone(),
        name: meta.name.clone(),
        message: error.to_string(),
    })
}

fn sorted(entries: impl IntoIterator<Item = (String, String)>) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_none_or(serde_json::Map::is_empty)
}
