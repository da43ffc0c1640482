//! Kinds of your own, registered at run time, without generated code.
//!
//! Their [`Shape`] is a `.proto` text that the controller carries; their Rust types are whatever serde reads and writes as
//! protobuf's JSON with proto field names. What is unset is left out there, so the types want `#[serde(default)]`;
//! 64-bit integers are texts there, so `int32`, `uint32` or `double` are easier to have.

mod shape;

use std::path::Path;

use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use threeport::json::{from_json, from_struct, to_struct};
use threeport::object::Object;
use threeport::v1;

pub use self::shape::Shape;
use crate::controller::Reconciler;
use crate::{Client, Error};

/// A kind registered at run time, as the Rust type of its spec: what the user wants, written as a JSON object.
pub trait CustomKind: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static {
    /// Kebab case, singular: the name of its `ObjectKind`.
    const KIND: &'static str;
    /// The same shape for all others: the server, REST, tptctl and clients in other languages.
    const SHAPE: Shape;
    /// What its controllers saw, conditions apart.
    type Status: Serialize + DeserializeOwned + Default + Clone + Send + Sync + 'static;
}

/// An object of a kind registered at run time.
#[derive(Clone, Debug)]
pub struct Custom<K: CustomKind> {
    pub meta: v1::ObjectMeta,
    pub spec: K,
    pub status: K::Status,
    /// Read from the status; controllers set them through their context.
    pub conditions: Vec<v1::Condition>,
}

impl<K: CustomKind> Custom<K> {
    /// A new object, to be created or applied.
    pub fn new(project: &str, name: &str, spec: K) -> Self {
        let meta = v1::ObjectMeta { project: project.into(), name: name.into(), ..Default::default() };
        Self { meta, spec, status: K::Status::default(), conditions: Vec::new() }
    }

    /// The condition of this type, such as `Ready`.
    pub fn condition(&self, r#type: &str) -> Option<&v1::Condition> {
        self.conditions.iter().find(|condition| condition.r#type == r#type)
    }
}

impl<K: CustomKind> Object for Custom<K> {
    const KIND: &'static str = K::KIND;

    fn meta(&self) -> &v1::ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut v1::ObjectMeta {
        &mut self.meta
    }

    /// Without the status, which is not for users to write.
    fn to_erased(&self) -> v1::Object {
        let spec = serde_json::to_value(&self.spec).expect("a spec is written as a JSON object, says `CustomKind`");
        v1::Object { kind: K::KIND.into(), meta: Some(self.meta.clone()), spec: Some(to_struct(spec)), status: None }
    }

    fn from_erased(object: v1::Object) -> Result<Self, serde_json::Error> {
        let status = object.status.map_or_else(|| Value::Object(serde_json::Map::new()), from_struct);
        let conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(Self {
            meta: object.meta.unwrap_or_default(),
            spec: serde_json::from_value(from_struct(object.spec.unwrap_or_default()))?,
            status: serde_json::from_value(status)?,
            conditions: conditions.into_iter().map(from_json).collect::<Result<_, _>>()?,
        })
    }
}

/// Registers the kind that a controller serves, or brings its shape and this controller up to date; other controllers of
/// the kind, table columns and references stay as they are. The client is a user's.
///
/// # Errors
/// When the kind's shape can't be compiled (the text says where), or the server refuses it.
pub async fn register<R, K>(client: &Client) -> Result<(), Error>
where
    R: Reconciler<Object = Custom<K>>,
    K: CustomKind,
{
    let mut wanted = object_kind::<K>(R::CONTROLLER, R::OWNS)?;
    match client.get::<v1::ObjectKind>("", K::KIND).await {
        Ok(stored) => {
            wanted.spec = Some(merged(stored.spec.unwrap_or_default(), wanted.spec.unwrap_or_default()));
            let known = stored.meta.unwrap_or_default();
            let meta = wanted.meta.get_or_insert_default();
            (meta.labels, meta.annotations) = (known.labels, known.annotations);
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    client.apply(&wanted).await.map(drop)
}

/// The stored registration with the shape and the one controller of another.
fn merged(stored: v1::ObjectKindSpec, wanted: v1::ObjectKindSpec) -> v1::ObjectKindSpec {
    let v1::ObjectKindSpec { descriptor_set, message, controllers: own, .. } = wanted;
    let others = stored.controllers.into_iter().filter(|known| own.iter().all(|own| own.name != known.name));
    let controllers = others.chain(own.iter().cloned()).collect();
    v1::ObjectKindSpec { descriptor_set, message, controllers, ..stored }
}

/// The `ObjectKind` that registers a kind served by one controller, which may own objects of the kinds `owns` under its
/// own; to be applied by a user. What else an [`v1::ObjectKindSpec`] has may be set on the result.
///
/// # Errors
/// When its shape can't be compiled; the text says where.
pub fn object_kind<K: CustomKind>(controller: &str, owns: &[&str]) -> Result<v1::ObjectKind, Error> {
    let controller =
        v1::ObjectKindController { name: controller.into(), owns: owns.iter().map(ToString::to_string).collect() };
    let (proto, message) = K::SHAPE.file(K::KIND);
    let spec = v1::ObjectKindSpec {
        descriptor_set: compile(&format!("{}.proto", K::KIND), &proto, &message)?,
        message,
        controllers: vec![controller],
        ..Default::default()
    };
    let meta = v1::ObjectMeta { name: K::KIND.into(), ..Default::default() };
    Ok(v1::ObjectKind { meta: Some(meta), spec: Some(spec) })
}

/// A serialized descriptor set of a `.proto` text and what it imports.
fn compile(file: &str, proto: &str, message: &str) -> Result<Vec<u8>, Error> {
    let wrong = |why: String| Error::Configuration(format!("{file} can't be compiled: {why}"));
    let ours = DescriptorSetFileResolver::decode(threeport::DESCRIPTORS).map_err(|error| wrong(error.to_string()))?;
    let mut resolver = ChainFileResolver::new();
    resolver.add(OneFile { name: file.to_owned(), text: proto.to_owned() });
    resolver.add(ours);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(file).map_err(|error| wrong(error.to_string()))?;
    if compiler.descriptor_pool().get_message_by_name(message).is_none() {
        return Err(wrong(format!("it has no message `{message}`; give the full name, package included")));
    }
    Ok(compiler.encode_file_descriptor_set())
}

struct OneFile {
    name: String,
    text: String,
}

impl FileResolver for OneFile {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        (path == Path::new(&self.name)).then(|| self.name.clone())
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name { File::from_source(name, &self.text) } else { Err(protox::Error::file_not_found(name)) }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use serde::Deserialize;
    use serde_json::json;
    use threeport::kind::Kind;

    use super::*;

    const PROTO: &str = "syntax = \"proto3\";\npackage acme.v1;\nimport \"threeport/v1/meta.proto\";\n\
                         import \"threeport/v1/options.proto\";\nmessage Gadget {\n  threeport.v1.ObjectMeta meta = 1;\n  \
                         Spec spec = 2;\n}\nmessage Spec {\n  string definition = 1 [(threeport.v1.references) = \
                         \"workload-definition\"];\n}\n";

    #[test]
    fn registering_leaves_other_controllers_and_columns_as_they_are() {
        let controller =
            |name: &str, owns: &str| v1::ObjectKindController { name: name.into(), owns: vec![owns.into()] };
        let stored = v1::ObjectKindSpec {
            message: "acme.v1.Old".into(),
            controllers: vec![controller("dns", "workload"), controller("tls", "attachment")],
            columns: vec![v1::TableColumn::default()],
            ..Default::default()
        };
        let wanted = v1::ObjectKindSpec {
            message: "acme.v1.New".into(),
            controllers: vec![controller("dns", "website")],
            ..Default::default()
        };
        let merged = merged(stored.clone(), wanted);
        assert_eq!(merged.controllers, [controller("tls", "attachment"), controller("dns", "website")]);
        assert_eq!((merged.message.as_str(), merged.columns), ("acme.v1.New", stored.columns));
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Widget {
        size: u32,
    }

    impl CustomKind for Widget {
        const KIND: &'static str = "blue-widget";
        const SHAPE: Shape = Shape::of_spec("acme.v1", "uint32 size = 1;").with_status("uint32 size = 3;");
        type Status = Widget;
    }

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    struct Gadget {}

    impl CustomKind for Gadget {
        const KIND: &'static str = "gadget";
        const SHAPE: Shape = Shape::of_file(PROTO, "acme.v1.Gadget");
        type Status = Gadget;
    }

    fn compiled<K: CustomKind>() -> Result<Kind, Error> {
        let spec = object_kind::<K>("it", &["workload"])?.spec.unwrap();
        assert_eq!(spec.controllers[0].owns, ["workload"]);
        let pool = DescriptorPool::decode(spec.descriptor_set.as_slice()).unwrap();
        Ok(Kind::new(K::KIND, pool.get_message_by_name(&spec.message).unwrap(), true, Vec::new()))
    }

    #[test]
    fn a_file_is_compiled_with_its_options_and_imports() {
        assert_eq!(compiled::<Gadget>().unwrap().references[0].kind, "workload-definition");
    }

    #[test]
    fn fields_become_a_whole_kind() {
        let kind = compiled::<Widget>().unwrap();
        assert_eq!(kind.message.full_name(), "acme.v1.BlueWidget");
        let field = |part: &str, name: &str| {
            let part = kind.message.get_field_by_name(part).unwrap().kind();
            part.as_message().unwrap().get_field_by_name(name).is_some()
        };
        assert!(field("meta", "labels") && field("spec", "size") && field("status", "size"));
        assert!(field("status", "conditions") && field("status", "observed_generation"));
    }

    #[test]
    fn mistakes_in_the_text_are_told() {
        let message = |proto: &str, name: &str| compile("widget.proto", proto, name).unwrap_err().to_string();
        assert!(message("message {", "x").starts_with("widget.proto can't be compiled: "));
        assert!(message(PROTO, "acme.v1.Widget").contains("no message `acme.v1.Widget`"));
    }

    #[test]
    fn typed_and_erased_are_the_same_object() {
        let mut erased = Custom::new("default", "w", Widget { size: 3 }).to_erased();
        assert_eq!(from_struct(erased.spec.clone().unwrap()), json!({ "size": 3 }));
        let conditions = json!([{ "type": "Ready", "status": "True" }]);
        erased.status = Some(to_struct(json!({ "observed_generation": "1", "size": 2, "conditions": conditions })));
        let object = Custom::<Widget>::from_erased(erased).unwrap();
        assert_eq!((object.spec.size, object.status.size), (3, 2));
        assert_eq!(object.condition("Ready").unwrap().status, "True");
    }
}
