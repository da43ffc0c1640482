//! Objects as YAML documents.

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
