//! Which keys and fields of the config format stand for which kinds and fields: a kind that comes later is a line here.

use serde_json::{Value, json};

/// What a key of the format stands for.
pub struct Entry {
    pub key: &'static str,
    /// The native documents that it makes; none: it has no counterpart yet.
    pub natives: &'static [Native],
    /// Fields that it has and that have no counterpart yet.
    pub later: &'static [&'static str],
}

pub struct Native {
    pub kind: &'static str,
    pub fields: &'static [Field],
}

/// A field, where it goes in the native document, and how.
pub struct Field(pub &'static str, pub &'static str, pub Convert);

/// The native value, or what must stand there instead.
pub type Convert = fn(&Value) -> Result<Value, &'static str>;

const NAME: Field = Field("Name", "name", text);
const ON_RUNTIME: Field = Field("KubernetesRuntimeInstance", "spec.runtime", reference);
const REPO: Field = Field("Repo", "spec.repo", text);
const CHART: Field = Field("Chart", "spec.chart", text);
const CHART_VERSION: Field = Field("ChartVersion", "spec.chart_version", text);
const VALUES: Field = Field("Values", "spec.values_document", text);
const VALUES_DOCUMENT: Field = Field("ValuesDocument", "spec.values_document", file);

/// All keys, those that have no counterpart yet too.
pub const TABLE: &[Entry] = &[
    Entry {
        key: "Workload",
        natives: &[Native {
            kind: "workload",
            fields: &[
                NAME,
                Field("YAMLDocument", "spec.manifest", file),
                Field("KubernetesRuntimeInstance", "spec.instances", one_instance),
            ],
        }],
        later: &["DomainName", "Gateway", "Secret"],
    },
    Entry {
        key: "WorkloadDefinition",
        natives: &[Native {
            kind: "workload-definition",
            fields: &[NAME, Field("YAMLDocument", "spec.manifest", file)],
        }],
        later: &[],
    },
    Entry {
        key: "WorkloadInstance",
        natives: &[Native {
            kind: "workload-instance",
            fields: &[NAME, Field("WorkloadDefinition", "spec.definition", reference), ON_RUNTIME],
        }],
        later: &[],
    },
    Entry {
        key: "HelmWorkload",
        natives: &[
            Native {
                kind: "helm-workload-definition",
                fields: &[
                    NAME,
                    REPO,
                    CHART,
                    CHART_VERSION,
                    Field("DefinitionValues", "spec.values_document", text),
                    Field("DefinitionValuesDocument", "spec.values_document", file),
                ],
            },
            Native {
                kind: "helm-workload-instance",
                fields: &[
                    NAME,
                    Field("Name", "spec.definition", text),
                    ON_RUNTIME,
                    Field("InstanceValues", "spec.values_document", text),
                    Field("InstanceValuesDocument", "spec.values_document", file),
                ],
            },
        ],
        later: &["DomainName", "Gateway", "Secret"],
    },
    Entry {
        key: "HelmWorkloadDefinition",
        natives: &[Native {
            kind: "helm-workload-definition",
            fields: &[NAME, REPO, CHART, CHART_VERSION, VALUES, VALUES_DOCUMENT],
        }],
        later: &[],
    },
    Entry {
        key: "HelmWorkloadInstance",
        natives: &[Native {
            kind: "helm-workload-instance",
            fields: &[
                NAME,
                Field("HelmWorkloadDefinition", "spec.definition", reference),
                ON_RUNTIME,
                VALUES,
                VALUES_DOCUMENT,
            ],
        }],
        later: &[],
    },
    later("KubernetesRuntime"),
    later("KubernetesRuntimeDefinition"),
    later("KubernetesRuntimeInstance"),
    later("Gateway"),
    later("GatewayDefinition"),
    later("GatewayInstance"),
    later("DomainName"),
    later("DomainNameDefinition"),
    later("DomainNameInstance"),
    later("Secret"),
    later("SecretDefinition"),
    later("SecretInstance"),
    later("ObservabilityStack"),
    later("ObservabilityStackDefinition"),
    later("ObservabilityStackInstance"),
];

const fn later(key: &'static str) -> Entry {
    Entry { key, natives: &[], later: &[] }
}

fn text(value: &Value) -> Result<Value, &'static str> {
    if value.is_string() { Ok(value.clone()) } else { Err("must be a text; put it in quotes") }
}

/// A path, relative to the file that names it.
fn file(value: &Value) -> Result<Value, &'static str> {
    let path = value.as_str().ok_or("must be the path of a file")?;
    Ok(json!({ "file": path }))
}

/// `{Name: …}`.
fn reference(value: &Value) -> Result<Value, &'static str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1);
    let name = fields.and_then(|fields| fields.get("Name")).filter(|name| name.is_string());
    name.cloned().ok_or("must be `{Name: …}`")
}

/// The one instance of a workload, on the runtime referred to.
fn one_instance(value: &Value) -> Result<Value, &'static str> {
    Ok(json!([{ "name": "default", "runtime": reference(value)? }]))
}
