//! The one list of our kinds, and what typed code may do with any object.

use serde_json::Value;

use crate::json::{from_json, from_struct, to_json, to_struct};
use crate::kind::Controller;
use crate::v1::{self, ObjectMeta};

/// A typed object: one of ours, or a user's own type for a kind registered at run time.
pub trait Object: Clone + Send + Sync + 'static {
    /// Kebab case, singular.
    const KIND: &'static str;

    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// The same object without its type.
    fn to_erased(&self) -> v1::Object;
    /// Reads an erased object; fields that the type doesn't know are dropped.
    fn from_erased(object: v1::Object) -> Result<Self, serde_json::Error>;

    /// Whether deletion was asked for.
    fn is_deleting(&self) -> bool {
        self.meta().deleted_at.is_some()
    }
}

/// Every kind of ours, once: message, name, whether in a project, aliases, controllers with the kinds that they own,
/// and table columns. Storage, services, REST, CLI nouns and hints follow from this list.
#[macro_export]
macro_rules! for_each_object {
    ($callback:ident) => {
        $callback! {
            Project, "project", false, ["projects"], [],
                [("DISPLAY NAME", "spec.display_name"), ("DEFAULT RUNTIME", "spec.default_runtime")];
            Workload, "workload", true, ["w"], [("workload", [])],
                [("HEALTH", "status.health"), ("READY", "ready"), ("REASON", "reason")];
            WorkloadDefinition, "workload-definition", true, ["wd", "definition"], [],
                [("GENERATION", "meta.generation"), ("IMAGES", "status.images")];
            WorkloadInstance, "workload-instance", true, ["wi", "instance"], [("workload-instance", [])],
                [("DEFINITION", "spec.definition"), ("RUNTIME", "spec.runtime"), ("NAMESPACE", "status.namespace"),
                 ("HEALTH", "status.health"), ("READY", "ready"), ("REASON", "reason")];
            HelmWorkloadDefinition, "helm-workload-definition", true, ["hwd"], [],
                [("CHART", "spec.chart"), ("VERSION", "spec.chart_version"), ("REPO", "spec.repo")];
            HelmWorkloadInstance, "helm-workload-instance", true, ["hwi"], [("helm-workload-instance", [])],
                [("DEFINITION", "spec.definition"), ("RUNTIME", "spec.runtime"), ("NAMESPACE", "status.namespace"),
                 ("CHART VERSION", "status.chart_version"), ("HEALTH", "status.health"), ("READY", "ready"),
                 ("REASON", "reason")];
            KubernetesRuntimeDefinition, "kubernetes-runtime-definition", true, ["krd"], [],
                [("DESCRIPTION", "spec.description")];
            KubernetesRuntimeInstance, "kubernetes-runtime-instance", true, ["kri", "runtime"],
                [("kubernetes-runtime-instance", [])],
                [("VERSION", "status.kubernetes_version"), ("NODES", "status.nodes"), ("SIMULATED", "status.simulated"),
                 ("READY", "ready"), ("REASON", "reason")];
            Attachment, "attachment", true, [], [],
                [("WORKLOAD INSTANCE", "spec.workload_instance")];
            ObjectKind, "object-kind", false, ["kind"], [],
                [("MESSAGE", "spec.message")];
        }
    };
}

/// One line of the list, before descriptors are looked up.
pub struct Entry {
    pub message: &'static str,
    pub name: &'static str,
    pub is_in_project: bool,
    pub aliases: &'static [&'static str],
    pub controllers: Vec<Controller>,
    pub columns: &'static [(&'static str, &'static str)],
}

macro_rules! define_objects {
    ($($object:ident, $name:literal, $in_project:literal, [$($alias:literal),*],
       [$(($controller:literal, [$($owns:literal),*])),*], [$($column:expr),*];)*) => {
        /// The list as data.
        pub fn entries() -> Vec<Entry> {
            vec![$(Entry {
                message: concat!("threeport.v1.", stringify!($object)),
                name: $name,
                is_in_project: $in_project,
                aliases: &[$($alias),*],
                controllers: vec![$(Controller { name: $controller.into(), owns: vec![$(String::from($owns)),*] }),*],
                columns: &[$($column),*],
            }),*]
        }

        $(impl Object for v1::$object {
            const KIND: &'static str = $name;

            fn meta(&self) -> &ObjectMeta {
                static EMPTY: std::sync::LazyLock<ObjectMeta> = std::sync::LazyLock::new(ObjectMeta::default);
                self.meta.as_ref().unwrap_or(&EMPTY)
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                self.meta.get_or_insert_default()
            }

            fn to_erased(&self) -> v1::Object {
                let mut json = to_json(self);
                v1::Object {
                    kind: Self::KIND.into(),
                    meta: self.meta.clone(),
                    spec: Some(to_struct(json["spec"].take())),
                    status: json.get_mut("status").map(|status| to_struct(status.take())),
                }
            }

            fn from_erased(object: v1::Object) -> Result<Self, serde_json::Error> {
                let mut json = serde_json::Map::new();
                json.insert("spec".into(), object.spec.map_or_else(|| Value::Object(Default::default()), from_struct));
                if let Some(status) = object.status {
                    json.insert("status".into(), from_struct(status));
                }
                let mut typed: Self = from_json(Value::Object(json))?;
                typed.meta = object.meta;
                Ok(typed)
            }
        })*
    };
}
for_each_object!(define_objects);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_with_metadata_is_listed() {
        let listed = entries().iter().map(|entry| entry.message).collect::<Vec<_>>();
        for message in crate::POOL.all_messages() {
            let meta = message.get_field_by_name("meta");
            let is_object = meta.is_some_and(|meta| meta.number() == 1) && message.name() != "Object";
            assert!(
                !is_object || listed.contains(&message.full_name()),
                "add {} to for_each_object! in proto/object.rs",
                message.name()
            );
        }
    }

    #[test]
    fn typed_and_erased_are_the_same_object() {
        let spec = v1::WorkloadSpec { image: "nginx".into(), replicas: Some(0), ..Default::default() };
        let meta = ObjectMeta { name: "web".into(), ..Default::default() };
        let workload = v1::Workload { meta: Some(meta), spec: Some(spec), status: None };
        assert_eq!(v1::Workload::from_erased(workload.to_erased()).unwrap(), workload);
    }
}
