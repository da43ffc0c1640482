//! Objects as YAML documents: what people write, `tptctl` applies and `get -o yaml` prints.
//!
//! ```yaml
//! version: v1
//! kind: workload
//! name: web
//! spec:
//!   manifest: {file: web.yaml}
//! ```
//!
//! Beside these keys there are `project`, `labels`, `annotations` and `shared_with`. Several documents in a file are set
//! apart by `---`. `{file: path}` in place of a text in the spec reads it from a file, relative to the document's.
//! Beside this form there is Threeport's config format (see `config.rs`), in the same files if need be.
//! All that can be checked without a server is, against the kinds' descriptors; mistakes are told with their place.

mod config;
mod file_reference;
mod node;
mod reader;
mod writer;

use threeport::v1::Object;

use self::node::Places;
pub use self::reader::Reader;
pub use self::writer::to_yaml;

/// The version of the document's own form.
const VERSION: &str = "v1";

/// An object and where it was written.
#[derive(Clone, Debug)]
pub struct Document {
    pub object: Object,
    file: String,
    places: Places,
}

impl Document {
    /// Where a field stands, or what is nearest around it: `app.yaml:7:3` of `spec.image`.
    pub fn place_of(&self, field: &str) -> String {
        // Documents have a name where objects have `meta.name`.
        let (line, column) = self.places.find(field.strip_prefix("meta.").unwrap_or(field));
        format!("{}:{line}:{column}", self.file)
    }
}

/// One thing wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as named by the caller; `-` for stdin.
    pub file: String,
    /// Counted from 1; 0 if unknown.
    pub line: u64,
    /// Counted from 1; 0 if unknown.
    pub column: u64,
    /// What is wrong, with the field's path if it is about one: lower case, no full stop.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}: {}", self.file, self.message),
            (line, column) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
        }
    }
}
