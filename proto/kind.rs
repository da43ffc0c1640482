//! What the core knows of a kind of object: read from descriptors, so that kinds registered at run time are no exception.

use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::Value;

use crate::v1::TableColumn;

/// A kind of object.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Kebab case, singular: the CLI noun, the stored `kind`, the subject of hints.
    pub name: String,
    /// Kebab case, plural: the REST collection.
    pub plural: String,
    /// Shorter names that a command line accepts.
    pub aliases: Vec<String>,
    pub message: MessageDescriptor,
    /// Whether its objects live in projects.
    pub is_in_project: bool,
    /// Who reconciles it; without any it is data.
    pub controllers: Vec<Controller>,
    /// Where its spec names other objects.
    pub references: Vec<ReferenceField>,
    /// Where its spec holds secrets.
    pub sensitive: Vec<FieldPath>,
    /// Status fields whose change wakes users.
    pub outputs: Vec<FieldPath>,
    pub columns: Vec<TableColumn>,
}

/// One reconciler of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub name: String,
    /// The kinds that its Finish may declare children of.
    pub owns: Vec<String>,
}

/// A field that names objects of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceField {
    pub path: FieldPath,
    pub kind: String,
}

/// A field below the spec or status, through any lists and maps on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// Every element of a list or value of a map.
    Each,
}

impl FieldPath {
    /// Calls `visit` with the place and value of every present field of this path, below `prefix`.
    pub fn visit<'a>(&self, json: &'a Value, prefix: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
        fn go<'a>(steps: &[Step], json: &'a Value, place: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
            match (steps.split_first(), json) {
                (None, _) => visit(place, json),
                (Some((Step::Field(name), rest)), Value::Object(fields)) => {
                    if let Some(value) = fields.get(name) {
                        go(rest, value, &crate::json::join(place, name), visit);
                    }
                }
                (Some((Step::Each, rest)), Value::Array(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        go(rest, item, &format!("{place}[{index}]"), visit);
                    }
                }
                (Some((Step::Each, rest)), Value::Object(fields)) => {
                    for (key, item) in fields {
                        go(rest, item, &format!("{place}[{key:?}]"), visit);
                    }
                }
                _ => {}
            }
        }
        go(&self.0, json, prefix, visit);
    }

    /// As [`FieldPath::visit`], with leave to change the values.
    pub fn visit_mut(&self, json: &mut Value, prefix: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
        fn go(steps: &[Step], json: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
            match (steps.split_first(), json) {
                (None, json) => visit(place, json),
                (Some((Step::Field(name), rest)), Value::Object(fields)) => {
                    if let Some(value) = fields.get_mut(name) {
                        go(rest, value, &crate::json::join(place, name), visit);
                    }
                }
                (Some((Step::Each, rest)), Value::Array(items)) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        go(rest, item, &format!("{place}[{index}]"), visit);
                    }
                }
                (Some((Step::Each, rest)), Value::Object(fields)) => {
                    for (key, item) in fields {
                        go(rest, item, &format!("{place}[{key:?}]"), visit);
                    }
                }
                _ => {}
            }
        }
        go(&self.0, json, prefix, visit);
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => write!(f, "{name}")?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Each => write!(f, "[]")?,
            }
        }
        Ok(())
    }
}

impl Kind {
    /// Reads references, secrets and outputs from the descriptor; `message` has `meta = 1`, `spec = 2` and perhaps `status = 3`.
    pub fn new(name: &str, message: MessageDescriptor, is_in_project: bool, controllers: Vec<Controller>) -> Self {
        let mut kind = Self {
            name: name.to_owned(),
            plural: format!("{name}s"),
            aliases: Vec::new(),
            is_in_project,
            controllers,
            references: Vec::new(),
            sensitive: Vec::new(),
            outputs: Vec::new(),
            columns: Vec::new(),
            message,
        };
        for (part, descriptor) in [("spec", kind.spec()), ("status", kind.status())] {
            let Some(descriptor) = descriptor else { continue };
            walk(&descriptor, &mut Vec::new(), &mut Vec::new(), &mut |field, path| match part {
                "spec" => {
                    if let Some(target) = reference_of(field) {
                        kind.references.push(ReferenceField { path: FieldPath(path.to_vec()), kind: target });
                    }
                    if is_sensitive(field) {
                        kind.sensitive.push(FieldPath(path.to_vec()));
                    }
                }
                _ => {
                    if option_of(field, "threeport.v1.output").and_then(|v| v.as_bool()).unwrap_or(false) {
                        kind.outputs.push(FieldPath(path.to_vec()));
                    }
                }
            });
        }
        kind
    }

    /// The message of the spec; none if the kind has none.
    pub fn spec(&self) -> Option<MessageDescriptor> {
        self.part("spec")
    }

    /// The message of the status; none for kinds that nobody reconciles or derives.
    pub fn status(&self) -> Option<MessageDescriptor> {
        self.part("status")
    }

    /// `acme.v1.WidgetService`.
    pub fn service_name(&self) -> String {
        format!("{}Service", self.message.full_name())
    }

    /// Replaces every sensitive value of a spec by `(sensitive)`.
    pub fn redact(&self, spec: &mut Value) {
        self.visit_sensitive(spec, &mut |_, value| *value = Value::from(crate::SENSITIVE));
    }

    /// Calls `visit` with every sensitive string of a spec and its place, such as `secret_data["key"]`.
    pub fn visit_sensitive(&self, spec: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
        for path in &self.sensitive {
            path.visit_mut(spec, "", &mut |place, value| visit(place, value));
        }
    }

    fn part(&self, name: &str) -> Option<MessageDescriptor> {
        match self.message.get_field_by_name(name)?.kind() {
            FieldKind::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// Calls `visit` with every field at or below a message and its path. Recursive messages are walked once: kinds with secrets
/// or references in one are refused.
fn walk(
    message: &MessageDescriptor,
    path: &mut Vec<Step>,
    inside: &mut Vec<String>,
    visit: &mut dyn FnMut(&FieldDescriptor, &[Step]),
) {
    if inside.iter().any(|name| name == message.full_name()) || message.package_name() == "google.protobuf" {
        return;
    }
    inside.push(message.full_name().to_owned());
    for field in message.fields() {
        let depth = path.len();
        path.push(Step::Field(field.name().to_owned()));
        if field.is_list() || field.is_map() {
            path.push(Step::Each);
        }
        visit(&field, path);
        let nested = match field.kind() {
            FieldKind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
                FieldKind::Message(value) => Some(value),
                _ => None,
            },
            FieldKind::Message(nested) => Some(nested),
            _ => None,
        };
        if let Some(nested) = nested {
            walk(&nested, path, inside, visit);
        }
        path.truncate(depth);
    }
    inside.pop();
}

/// Whether a field is marked `debug_redact`.
pub fn is_sensitive(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

/// The kind of the objects that a field names, if it is marked `references`.
pub fn reference_of(field: &FieldDescriptor) -> Option<String> {
    option_of(field, "threeport.v1.references").and_then(|value| value.as_str().map(str::to_owned))
}

fn option_of(field: &FieldDescriptor, name: &str) -> Option<prost_reflect::Value> {
    let extension = field.parent_pool().get_extension_by_name(name)?;
    let options = field.options();
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}
