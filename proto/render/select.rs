//! Finds the fields that a `FieldSelector` means.

use super::path::FieldPath;
use super::resource::Resource;
use crate::v1::{FieldSelector, ResourceSelector};

/// A selector whose path has been read.
#[derive(Clone, Debug)]
pub struct Selector<'a> {
    resource: Option<&'a ResourceSelector>,
    pub path: FieldPath,
}

impl<'a> Selector<'a> {
    pub fn new(selector: &'a FieldSelector) -> Result<Self, String> {
        let is_empty = |r: &&ResourceSelector| r.api_version.is_empty() && r.kind.is_empty() && r.name.is_empty();
        let resource = selector.resource.as_ref().filter(|resource| !is_empty(resource));
        Ok(Self { resource, path: selector.path.parse()? })
    }

    /// The indexes of the resources it means: those named; without a name, those that have the field, or, when none has,
    /// those that have what would hold it.
    pub fn select(&self, resources: &[Resource]) -> Vec<usize> {
        let all = |matches: &dyn Fn(&Resource) -> bool| {
            resources.iter().enumerate().filter(|(_, r)| matches(r)).map(|(index, _)| index).collect::<Vec<_>>()
        };
        if self.resource.is_some() {
            return all(&|resource| resource.is_selected(self.resource));
        }
        let present = all(&|resource| !self.path.get(&resource.value).is_empty());
        if present.is_empty() { all(&|resource| self.path.has_parent(&resource.value)) } else { present }
    }
}

/// `Deployment web`, for messages.
pub fn describe(selector: Option<&ResourceSelector>) -> String {
    let parts = selector.map(|s| [s.api_version.as_str(), s.kind.as_str(), s.name.as_str()]).unwrap_or_default();
    let parts = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    if parts.is_empty() { "any resource".to_owned() } else { format!("`{}`", parts.join(" ")) }
}
