//! What kinds have in common whose objects have resources in a cluster.

use threeport::object::Object;
use threeport::v1::{Adoption, Condition, WorkloadInstance};

/// An object that is deployed to one runtime.
pub trait Deployment: Object {
    /// The runtime as the spec names it.
    fn runtime(&self) -> &str;
    /// What it takes over from others.
    fn adopt(&self) -> &[Adoption];
    /// What is said of it.
    fn conditions(&self) -> &[Condition];
}

impl Deployment for WorkloadInstance {
    fn runtime(&self) -> &str {
        self.spec.as_ref().map_or("", |spec| &spec.runtime)
    }

    fn adopt(&self) -> &[Adoption] {
        self.spec.as_ref().map_or(&[], |spec| &spec.adopt)
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}
