//! A kind registered at run time, with a type of its own for controllers of tests.

use base64::Engine;
use serde_json::{Value, json};
use threeport::json::{from_struct, to_struct};
use threeport::object::Object;
use threeport::v1::{self, ObjectMeta};

use super::document;

const PROTO: &str = r#"syntax = "proto3";
package acme.v1;
import "threeport/v1/meta.proto";
import "threeport/v1/options.proto";

// Something that only our company has.
message Widget {
  threeport.v1.ObjectMeta meta = 1;
  WidgetSpec spec = 2;
  WidgetStatus status = 3;
}
message WidgetSpec {
  optional int32 size = 1;
  string color = 2;
  string password = 3 [debug_redact = true];
  string definition = 4 [(threeport.v1.references) = "workload-definition"];
}
message WidgetStatus {
  int64 observed_generation = 1;
  repeated threeport.v1.Condition conditions = 2;
  string mood = 3;
}
"#;

/// A widget whose parts stay JSON.
#[derive(Clone, Debug, Default)]
pub struct Widget {
    pub meta: ObjectMeta,
    pub spec: Value,
    pub status: Value,
}

impl Object for Widget {
    const KIND: &'static str = "widget";

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }

    fn to_erased(&self) -> v1::Object {
        v1::Object {
            kind: Self::KIND.into(),
            meta: Some(self.meta.clone()),
            spec: Some(to_struct(self.spec.clone())),
            status: Some(to_struct(self.status.clone())),
        }
    }

    fn from_erased(object: v1::Object) -> Result<Self, serde_json::Error> {
        Ok(Self {
            meta: object.meta.unwrap_or_default(),
            spec: object.spec.map(from_struct).unwrap_or_default(),
            status: object.status.map(from_struct).unwrap_or_default(),
        })
    }
}

/// The document that registers widgets, reconciled by the controller `widget`, which may own workloads.
pub fn widget_kind() -> Value {
    kind_from(PROTO)
}

/// The same with another text instead of a part of the descriptor.
pub fn changed_widget_kind(from: &str, to: &str) -> Value {
    assert!(PROTO.contains(from));
    kind_from(&PROTO.replace(from, to))
}

fn kind_from(proto: &str) -> Value {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let file = folder.path().join("acme/v1/widget.proto");
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("the folder is ours");
    std::fs::write(&file, proto).expect("the folder is ours");
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let mut compiler = protox::Compiler::new([folder.path(), ours.as_ref()]).expect("both folders are there");
    compiler.include_imports(true).include_source_info(true).open_file("acme/v1/widget.proto").expect("it is valid");
    let set = base64::prelude::BASE64_STANDARD.encode(compiler.encode_file_descriptor_set());
    let spec = json!({
        "descriptor_set": set,
        "message": "acme.v1.Widget",
        "controllers": [{ "name": "widget", "owns": ["workload"] }],
        "columns": [{ "title": "COLOR", "field": "spec.color" }, { "title": "MOOD", "field": "status.mood" }],
    });
    document("object-kind", "widget", spec)
}
