//! Writes the service of a kind that has only a message, in the shape of ours: see `service.proto.template`.

use std::path::Path;

use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::Compiler;
use protox::file::{File, FileResolver};

const TEMPLATE: &str = include_str!("service.proto.template");

/// Adds the list, requests and service of a kind to the pool, commented and with `google.api.http`.
///
/// # Errors
/// When the kind's own files define one of these names.
pub fn add_service(
    pool: &mut DescriptorPool,
    message: &MessageDescriptor,
    name: &str,
    plural: &str,
) -> Result<(), String> {
    let package = message.package_name();
    if let Some(taken) = names(message.name()).into_iter().find(|name| is_taken(pool, &format!("{package}.{name}"))) {
        return Err(format!("`{package}.{taken}` is made by the server; leave it out of descriptor_set"));
    }
    let source = source(message, package, name, plural, true);
    let set = compile(pool, &format!("{}.service.proto", message.full_name()), &source)?;
    pool.decode_file_descriptor_set(set.as_slice()).map_err(|error| error.to_string())
}

fn names(message: &str) -> [String; 6] {
    [
        format!("{message}List"),
        format!("Create{message}Request"),
        format!("Update{message}Request"),
        format!("Apply{message}Request"),
        format!("Apply{message}Response"),
        format!("{message}Service"),
    ]
}

fn is_taken(pool: &DescriptorPool, name: &str) -> bool {
    pool.get_message_by_name(name).is_some() || pool.get_service_by_name(name).is_some()
}

/// The template filled in; the service comes to stand in `package`.
pub fn source(message: &MessageDescriptor, package: &str, name: &str, plural: &str, is_in_project: bool) -> String {
    TEMPLATE
        .replace("$package", package)
        .replace("$file", message.parent_file().name())
        .replace("$Type", &format!(".{}", message.full_name()))
        .replace("$Name", message.name())
        .replace("$nouns", plural)
        .replace("$noun", name)
        .replace("$inProject", if is_in_project { "/projects/{project}" } else { "" })
}

/// The source, and the pool that resolves what it imports.
struct Sources {
    name: String,
    source: String,
    pool: DescriptorPool,
}

impl FileResolver for Sources {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name {
            return File::from_source(name, &self.source);
        }
        match self.pool.get_file_by_name(name) {
            Some(file) => {
                File::decode_file_descriptor_proto(file.encode_to_vec().as_slice()).map_err(protox::Error::new)
            }
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// The serialized descriptor set of this one file.
pub fn compile(pool: &DescriptorPool, name: &str, source: &str) -> Result<Vec<u8>, String> {
    let sources = Sources { name: name.to_owned(), source: source.to_owned(), pool: pool.clone() };
    let mut compiler = Compiler::with_file_resolver(sources);
    compiler.include_imports(false).include_source_info(true);
    compiler.open_file(name).map_err(|error| error.to_string())?;
    Ok(compiler.encode_file_descriptor_set())
}
