//! The comments of the API, as its users read them: in `tptctl explain` and in the `OpenAPI` document.

use prost_reflect::{FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor};

/// What stands before a message.
pub fn of_message(message: &MessageDescriptor) -> String {
    comment(&message.parent_file(), message.path())
}

/// What stands before a field.
pub fn of_field(field: &FieldDescriptor) -> String {
    comment(&field.parent_message().parent_file(), field.path())
}

/// What stands before an RPC.
pub fn of_method(method: &MethodDescriptor) -> String {
    comment(&method.parent_file(), method.path())
}

fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let locations = file.file_descriptor_proto().source_code_info.as_ref().map(|info| &info.location);
    let location = locations.into_iter().flatten().find(|location| location.path == path);
    location.map(|location| location.leading_comments().trim().to_owned()).unwrap_or_default()
}
