//! Reads YAML strictly, and writes resources as people write them: `apiVersion` and `kind` first, long texts as blocks.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use super::resource::Resource;

/// Keys in the order in which they are written; others follow by alphabet.
const FIRST: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "type",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "selector",
    "strategy",
    "image",
    "command",
    "args",
    "httpGet",
    "tcpSocket",
    "path",
    "port",
    "targetPort",
    "containerPort",
    "ports",
    "env",
    "envFrom",
    "resources",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "volumeMounts",
    "serviceAccountName",
    "initContainers",
    "containers",
    "volumes",
    "topologyKey",
    "template",
    "data",
    "stringData",
    "spec",
];

/// Why a text is no YAML, and where; never what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    pub column: u64,
    pub message: String,
}

/// One document as JSON; none when it holds nothing but comments. Booleans are `true` and `false`, `0777` is a string,
/// duplicate keys are refused and aliases bounded.
pub fn read(text: &str) -> Result<Option<Value>, Mistake> {
    read_with(
        text,
        serde_saphyr::options! {
            strict_booleans: true,
            legacy_octal_numbers: false,
            leading_zero_numbers_as_strings: true,
            with_snippet: false,
        },
    )
}

/// One document as charts mean it, by the rules of YAML 1.1 that Go keeps to: `yes` and `off` are booleans, `0644` is octal.
pub fn read_of_chart(text: &str) -> Result<Option<Value>, Mistake> {
    read_with(text, serde_saphyr::options! { strict_booleans: false, legacy_octal_numbers: true, with_snippet: false })
}

fn read_with(text: &str, options: serde_saphyr::Options) -> Result<Option<Value>, Mistake> {
    let is_empty_line = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start_matches('\u{feff}').trim();
        line.is_empty() || line.starts_with('#') || line == "..."
    };
    if text.lines().all(is_empty_line) {
        return Ok(None);
    }
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            Err(Mistake { line: usize::try_from(line).unwrap_or(1).max(1), column, message: told(&error) })
        }
    }
}

/// What the parser found wrong, in words that say what to do, without the place.
pub fn told(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("key `{key}` is given twice; remove one")
        }
        serde_saphyr::Error::DuplicateMappingKey { .. } => "a key is given twice; remove one".to_owned(),
        serde_saphyr::Error::MultipleDocuments { .. } => {
            "one document ends here, and another begins; give one".to_owned()
        }
        serde_saphyr::Error::Budget { .. } => {
            "the text is too large, too deep or has too many aliases; split it".to_owned()
        }
        error => {
            let message = error.to_string();
            let end = message.rfind(" at line ").unwrap_or(message.len());
            message[..end].trim_end_matches([':', '.', ',']).to_owned()
        }
    }
}

/// A multi-document manifest that reads back as the same resources.
pub fn to_yaml(resources: &[Resource]) -> String {
    resources.iter().map(|resource| document(&resource.value)).collect::<Vec<_>>().join("---\n")
}

/// One document, with a newline at its end.
pub fn document(value: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX, compact_list_indent: true };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, &Ordered(value), options)
        .expect("JSON is YAML, and memory doesn't fail");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Ordered(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                let mut keys = fields.keys().collect::<Vec<_>>();
                keys.sort_by_key(|key| (FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()), *key));
                let mut map = serializer.serialize_map(Some(keys.len()))?;
                for key in keys {
                    map.serialize_entry(key, &Ordered(&fields[key]))?;
                }
                map.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_written_as_people_write_them() {
        let value = json!({
            "metadata": { "name": "web", "labels": { "app": "web" } }, "kind": "ConfigMap", "apiVersion": "v1",
            "data": { "on": "off", "port": "80", "file": "first\nsecond\n", "empty": "" }, "list": [{ "image": "x", "name": "a" }, []]
        });
        insta::assert_snapshot!(document(&value), @r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  labels:
    app: web
data:
  port: "80"
  empty: ""
  file: |
    first
    second
  "on": "off"
list:
- name: a
  image: x
- []
"#);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "[ \\n\\ta-z:#'\"-]{0,40}".prop_map(Value::from),
            prop_oneof![
                Just("yes"),
                Just("null"),
                Just("~"),
                Just("0777"),
                Just("1e3"),
                Just("0x1f"),
                Just("1_000"),
                Just(".inf"),
                Just("2026-01-01"),
                Just("12:30"),
                Just("---"),
                Just("on"),
                Just("(sensitive)")
            ]
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-zA-Z0-9./ :-]{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in json()) {
            let value = json!({ "value": value });
            let text = document(&value);
            prop_assert_eq!(read(&text), Ok(Some(value)), "{}", text);
        }
    }
}
