//! `tptctl explain`: what a kind or field means, from the comments of the API.

use std::fmt::Write;

use anyhow::{Result, bail};
use clap::Args;
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use threeport::comments;
use threeport::kind::is_sensitive;
use threeport::registry::Registry;
use threeport::spelling::closest;

use crate::error::Usage;
use crate::session::{Session, find_kind};

/// Explain a kind or a field of it
///
/// Without a control plane at hand it explains the built-in kinds.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  tptctl explain workload
  tptctl explain workload.spec.instances.values")]
pub struct Explain {
    /// A kind, with the path of a field: `workload.spec.image`
    path: String,
}

impl Explain {
    pub async fn run(self, session: &Session) -> Result<()> {
        let served = match session.client() {
            Ok(client) => client.kinds().await.ok(),
            Err(_) => None,
        };
        let registry = served.as_ref().unwrap_or_else(|| Registry::built_in());
        session.terminal.data(explain(registry, &self.path)?.trim_end())
    }
}

fn explain(registry: &Registry, path: &str) -> Result<String> {
    let mut names = path.split('.');
    let kind = find_kind(registry, names.next().unwrap_or_default())?;
    let mut message = kind.message.clone();
    let mut text = format!("{} ({})\n{}", kind.name, message.full_name(), indented(&comments::of_message(&message), 2));
    for name in names {
        let Some(field) = message.get_field_by_name(name) else {
            let known: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
            let hint = match closest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", known.join(", ")),
            };
            bail!(Usage(format!("{} has no field `{name}`; {hint}", message.name())));
        };
        text = format!("{path}: {}\n{}", type_of(&field), indented(&comments::of_field(&field), 2));
        match message_of(&field) {
            Some(nested) => message = nested,
            None => return Ok(text),
        }
    }
    if message.package_name() != "google.protobuf" {
        write!(text, "\nfields:\n")?;
        for field in message.fields() {
            writeln!(
                text,
                "  {}: {}\n{}",
                field.name(),
                type_of(&field),
                indented(&comments::of_field(&field), 6).trim_end()
            )?;
        }
    }
    Ok(text)
}

/// The message of a field, of its elements or of its values.
fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = if field.is_map() { field.kind().as_message()?.map_entry_value_field().kind() } else { field.kind() };
    kind.as_message().filter(|message| message.package_name() != "google.protobuf").cloned()
}

fn type_of(field: &FieldDescriptor) -> String {
    let name = |kind: FieldKind| match kind {
        FieldKind::Message(message) => match message.full_name() {
            "google.protobuf.Value" => "any".to_owned(),
            "google.protobuf.Timestamp" => "time".to_owned(),
            "google.protobuf.Struct" => "object".to_owned(),
            _ => message.name().to_owned(),
        },
        FieldKind::Enum(values) => values.name().to_owned(),
        FieldKind::String => "string".to_owned(),
        FieldKind::Bytes => "bytes (base64)".to_owned(),
        FieldKind::Bool => "boolean".to_owned(),
        FieldKind::Float | FieldKind::Double => "number".to_owned(),
        _ => "integer".to_owned(),
    };
    let shown = match field.kind() {
        FieldKind::Message(entry) if field.is_map() => {
            format!(
                "map of {} to {}",
                name(entry.map_entry_key_field().kind()),
                name(entry.map_entry_value_field().kind())
            )
        }
        kind if field.is_list() => format!("list of {}", name(kind)),
        kind => name(kind),
    };
    if is_sensitive(field) { format!("{shown}, secret") } else { shown }
}

/// Each line that far in; wrapped where lines are long.
fn indented(text: &str, indent: usize) -> String {
    const WIDTH: usize = 110;
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + word.chars().count() >= WIDTH {
            let _ = writeln!(lines, "{:indent$}{line}", "");
            line.clear();
        }
        let gap = if line.is_empty() { "" } else { " " };
        let _ = write!(line, "{gap}{word}");
    }
    if !line.is_empty() {
        let _ = writeln!(lines, "{:indent$}{line}", "");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_explained_by_the_comments_of_the_api() {
        let text = explain(Registry::built_in(), "workload.spec.autoscale").unwrap();
        insta::assert_snapshot!(text, @r"
        workload.spec.autoscale: Autoscale
          Scales by load; instead of replicas.

        fields:
          min: integer
              At least this many copies (default 1).
          max: integer
              At most this many copies.
          cpu: integer
              The average CPU use, in percent of what is requested, to aim for (default 80).
        ");
        let text = explain(Registry::built_in(), "workload.spec.instances.values").unwrap();
        insta::assert_snapshot!(text, @r"
        workload.spec.instances.values: map of string to any
          Values for the definition's inputs, by name.
        ");
    }

    #[test]
    fn a_misspelt_field_is_corrected() {
        let error = explain(Registry::built_in(), "workload.spec.imge").unwrap_err();
        assert_eq!(error.to_string(), "WorkloadSpec has no field `imge`; did you mean `image`?");
    }
}
