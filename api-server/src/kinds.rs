//! The kinds in force: ours and those registered at run time.

use threeport::json::Violation;
use threeport::registry::Registry;
use threeport::v1::{self, ObjectKindSpec};

use crate::error::Result;

pub fn check(_spec: &ObjectKindSpec, _previous: Option<&ObjectKindSpec>) -> Vec<Violation> {
    Vec::new()
}

pub fn registry_with(_kinds: &[v1::ObjectKind]) -> Result<Registry> {
    Ok(Registry::built_in().clone())
}
