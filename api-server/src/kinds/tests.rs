use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{DescriptorPool, MessageDescriptor, ServiceDescriptor};
use protox::file::{FileResolver, GoogleFileResolver};
use threeport::v1::{self, ObjectKindController, ObjectKindReference, ObjectMeta};

use super::*;

const WIDGET: &str = r#"syntax = "proto3";
package acme.v1;
import "threeport/v1/meta.proto";
import "threeport/v1/options.proto";
message Widget {
  threeport.v1.ObjectMeta meta = 1;
  WidgetSpec spec = 2;
  WidgetStatus status = 3;
}
message WidgetSpec {
  optional int32 size = 1;
  string password = 2 [debug_redact = true];
  string workload = 3 [(threeport.v1.references) = "workload"];
  repeated Part parts = 4;
}
message Part { string definition = 1; }
message WidgetStatus {
  int64 observed_generation = 1;
  repeated threeport.v1.Condition conditions = 2;
}
"#;

/// A kind of this file; its descriptor set brings a well-known type that ours don't import.
fn spec_of(source: &str) -> ObjectKindSpec {
    let any = GoogleFileResolver::new().open_file("google/protobuf/any.proto").unwrap();
    let any = FileDescriptorSet { file: vec![any.file_descriptor_proto().clone()] };
    let mut pool = POOL.clone();
    pool.add_file_descriptor_set(any.clone()).unwrap();
    let widget = synthesize::compile(&pool, "acme/v1/widget.proto", source).unwrap();
    ObjectKindSpec {
        // Two serialized sets in a row are one set of both.
        descriptor_set: [any.encode_to_vec(), widget].concat(),
        message: "acme.v1.Widget".into(),
        controllers: vec![ObjectKindController { name: "widget".into(), owns: vec!["workload".into()] }],
        references: vec![ObjectKindReference { field: "parts.definition".into(), kind: "workload-definition".into() }],
        ..Default::default()
    }
}

fn stored(name: &str, spec: ObjectKindSpec) -> ObjectKind {
    let meta = ObjectMeta { name: name.into(), ..Default::default() };
    ObjectKind { meta: Some(meta), spec: Some(spec) }
}

fn descriptions(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_kind_registered_at_run_time_is_like_ours() {
    let spec = spec_of(WIDGET);
    assert_eq!(check(&spec, None), []);
    let registry = registry_with(&[stored("widget", spec)]).unwrap();
    let kind = registry.get("widget").unwrap();
    assert_eq!(kind.plural, "widgets");
    let references = kind.references.iter().map(|r| format!("{} -> {}", r.path, r.kind)).collect::<Vec<_>>();
    assert_eq!(references, ["workload -> workload", "parts[].definition -> workload-definition"]);
    assert_eq!(kind.sensitive.iter().map(ToString::to_string).collect::<Vec<_>>(), ["password"]);
    let service = registry.pool().get_service_by_name("acme.v1.WidgetService").unwrap();
    assert_eq!(service.methods().len(), 6);
    assert!(DescriptorPool::decode(registry.pool().encode_to_vec().as_slice()).is_ok());
}

#[test]
fn a_later_version_must_read_what_is_stored() {
    let before = spec_of(WIDGET);
    let narrowed = WIDGET.replace("optional int32 size = 1;", "optional string size = 1;");
    let told = descriptions(&check(&spec_of(&narrowed), Some(&before)));
    assert!(told.contains("field `acme.v1.WidgetSpec.size` changed from int32 to string"), "{told}");
    let removed = WIDGET
        .replace("message Part { string definition = 1; }", "message Part { string name = 1; string definition = 2; }");
    let told = descriptions(&check(&spec_of(&removed), Some(&before)));
    assert!(told.contains("renumbered from 1 to 2"), "{told}");
    let grown = WIDGET.replace("repeated Part parts = 4;", "repeated Part parts = 4; string color = 5;");
    assert_eq!(check(&spec_of(&grown), Some(&before)), []);
}

#[test]
fn a_kind_without_the_shape_of_an_object_is_refused() {
    let source =
        WIDGET.replace("int64 observed_generation = 1;", "").replace("ObjectMeta meta = 1", "ObjectMeta meta = 4");
    let told = descriptions(&check(&spec_of(&source), None));
    assert!(told.contains("`acme.v1.Widget` must have `threeport.v1.ObjectMeta meta = 1`"), "{told}");
    assert!(told.contains("`acme.v1.WidgetStatus` must have `int64 observed_generation`"), "{told}");
    let secret = WIDGET.replace("optional int32 size = 1;", "optional int32 size = 1 [debug_redact = true];");
    let told = descriptions(&check(&spec_of(&secret), None));
    assert!(told.contains("`acme.v1.WidgetSpec.size` is marked debug_redact"), "{told}");
    for (field, why) in [
        ("Tree tree = 5;", "`acme.v1.Leaf.key` is marked debug_redact or references in a message that contains itself"),
        ("google.protobuf.Any any = 5;", "`acme.v1.WidgetSpec.any` is a google.protobuf.Any"),
    ] {
        let source = WIDGET.replace("repeated Part parts = 4;", &format!("repeated Part parts = 4; {field}")).replacen(
            "import",
            "import \"google/protobuf/any.proto\";\nimport",
            1,
        ) + "message Tree { repeated Tree branches = 1; Leaf leaf = 2; }\nmessage Leaf { string key = 1 [debug_redact = true]; }";
        let told = descriptions(&check(&spec_of(&source), None));
        assert!(told.contains(why), "{told}");
    }
    let shown = WIDGET.replace("conditions = 2;", "conditions = 2; string token = 3 [debug_redact = true];");
    let told = descriptions(&check(&spec_of(&shown), None));
    assert!(told.contains("`acme.v1.WidgetStatus.token` is marked debug_redact, and a status is shown"), "{told}");
    let ours = ObjectKindSpec { message: "threeport.v1.Workload".into(), ..spec_of(WIDGET) };
    assert!(descriptions(&check(&ours, None)).contains("package `threeport.v1` is reserved"));
    let garbage = ObjectKindSpec { descriptor_set: b"garbage".to_vec(), ..spec_of(WIDGET) };
    assert!(descriptions(&check(&garbage, None)).contains("not a google.protobuf.FileDescriptorSet"));
    let lost = ObjectKindReference { field: "parts.nothing".into(), kind: "workload".into() };
    let lost = ObjectKindSpec { references: vec![lost], ..spec_of(WIDGET) };
    assert!(descriptions(&check(&lost, None)).contains("`parts.nothing` is not a field of the spec"));
}

#[test]
fn our_own_kinds_keep_the_rules_for_fields() {
    for kind in Registry::built_in().kinds() {
        let told = kind.spec().iter().flat_map(fields::check_spec).collect::<Vec<_>>();
        assert_eq!(told, [], "edit the spec of {}", kind.name);
        let told = kind.status().iter().flat_map(fields::check_status).collect::<Vec<_>>();
        assert_eq!(told, [], "edit the status of {}", kind.name);
    }
}

#[test]
fn kinds_that_do_not_go_together_are_refused() {
    let refuse = |objects: &[ObjectKind]| registry_with(objects).unwrap_err().to_string();
    assert!(refuse(&[stored("workload", spec_of(WIDGET))]).contains("goes by that name"));
    let taken = ObjectKindSpec { plural: "workloads".into(), ..spec_of(WIDGET) };
    assert!(refuse(&[stored("widget", taken)]).contains("plural `workloads` is taken by `workload`"));
    let other = WIDGET.replace("string password", "string secret").replace("Widget", "Gadget");
    let other = ObjectKindSpec { message: "acme.v1.Gadget".into(), ..spec_of(&other) };
    let told = refuse(&[stored("widget", spec_of(WIDGET)), stored("gadget", other)]);
    assert!(told.contains("file `acme/v1/widget.proto` differs from that of another kind"), "{told}");
    let references = vec![ObjectKindReference { field: "workload".into(), kind: "nothing".into() }];
    let unknown = ObjectKindSpec { references, ..spec_of(WIDGET) };
    assert!(refuse(&[stored("widget", unknown)]).contains("names unknown kind `nothing`"));
    let controllers = vec![ObjectKindController { name: "widget".into(), owns: vec!["nothing".into()] }];
    let owner = ObjectKindSpec { controllers, ..spec_of(WIDGET) };
    assert!(refuse(&[stored("widget", owner)]).contains("controller `widget` is to own unknown kind `nothing`"));
    let told = refuse(&[stored("widget", spec_of(WIDGET)), stored("again", spec_of(WIDGET))]);
    assert!(
        told.contains("object-kind `again`: message `acme.v1.Widget` is already served as kind `widget`"),
        "{told}"
    );
    let own_list = format!("{WIDGET}\nmessage WidgetList {{}}\n");
    assert!(refuse(&[stored("widget", spec_of(&own_list))]).contains("`acme.v1.WidgetList` is made by the server"));
}

#[test]
fn a_copy_of_our_files_that_says_something_else_is_refused() {
    let set = |change: &dyn Fn(&mut prost_reflect::prost_types::FieldDescriptorProto)| {
        let mut ours = POOL.get_file_by_name("threeport/v1/meta.proto").unwrap().file_descriptor_proto().clone();
        let meta = ours.message_type.iter_mut().find(|message| message.name() == "ObjectMeta").unwrap();
        change(meta.field.iter_mut().find(|field| field.name() == "project").unwrap());
        let ours = FileDescriptorSet { file: vec![ours] }.encode_to_vec();
        let spec = spec_of(WIDGET);
        descriptions(&check(
            &ObjectKindSpec { descriptor_set: [ours, spec.descriptor_set.clone()].concat(), ..spec },
            None,
        ))
    };
    assert_eq!(set(&|_| {}), "");
    // Of another version of ours, where nothing that both have differs.
    assert_eq!(set(&|field| (field.name, field.number) = (Some("older".into()), Some(4711))), "");
    for told in [set(&|field| field.number = Some(4711)), set(&|field| field.name = Some("projekt".into()))] {
        assert!(
            told.contains(
                "`threeport/v1/meta.proto` is another one than this server's: field `project` of message `ObjectMeta`"
            ) || told.contains("field `projekt` of message `ObjectMeta`"),
            "{told}"
        );
        assert!(told.contains("compile against the server's own"), "{told}");
    }

    let mut options = POOL.get_file_by_name("threeport/v1/options.proto").unwrap().file_descriptor_proto().clone();
    options.extension[0].number = Some(60_000);
    let options = FileDescriptorSet { file: vec![options] }.encode_to_vec();
    let spec = spec_of(WIDGET);
    let told = descriptions(&check(
        &ObjectKindSpec { descriptor_set: [options, spec.descriptor_set.clone()].concat(), ..spec },
        None,
    ));
    assert!(told.contains("another one than this server's: option `"), "{told}");
}

#[test]
fn two_kinds_may_share_a_file() {
    let both = format!(
        "{WIDGET}\nmessage Gadget {{ threeport.v1.ObjectMeta meta = 1; GadgetSpec spec = 2; }}\nmessage GadgetSpec {{ string text = 1; }}"
    );
    let gadget = ObjectKindSpec {
        message: "acme.v1.Gadget".into(),
        controllers: Vec::new(),
        references: Vec::new(),
        ..spec_of(&both)
    };
    assert_eq!(check(&gadget, None), []);
    let registry = registry_with(&[stored("widget", spec_of(&both)), stored("gadget", gadget)]).unwrap();
    assert!(registry.pool().get_service_by_name("acme.v1.GadgetService").is_some());
}

#[test]
fn objects_survive_the_way_to_their_message_and_back() {
    let registry = registry_with(&[stored("widget", spec_of(WIDGET))]).unwrap();
    let kind = registry.get("widget").unwrap();
    let json = serde_json::json!({ "size": 0, "password": "(sensitive)", "parts": [{ "definition": "a" }] });
    let meta = ObjectMeta { name: "w".into(), ..Default::default() };
    let spec = Some(threeport::json::to_struct(json));
    let object = v1::Object { kind: "widget".into(), meta: Some(meta), spec, status: None };
    assert_eq!(to_erased(kind, &from_erased(kind, object.clone()).unwrap()).unwrap(), object);
}

/// Every service of a kind of ours equals what would be written for a kind registered at run time.
#[test]
fn our_services_have_the_shape_that_is_synthesized() {
    for kind in Registry::built_in().kinds() {
        let source = synthesize::source(&kind.message, "synthesized", &kind.name, &kind.plural, kind.is_in_project);
        let set = synthesize::compile(&POOL, "synthesized.proto", &source).unwrap();
        let mut pool = POOL.clone();
        pool.decode_file_descriptor_set(set.as_slice()).unwrap();
        let wanted = pool.get_service_by_name(&format!("synthesized.{}Service", kind.message.name())).unwrap();
        let file = kind.message.parent_file().name().to_owned();
        let found = POOL.get_service_by_name(&kind.service_name());
        let found = found.unwrap_or_else(|| panic!("add service {} to proto/{file}", kind.service_name()));
        assert_eq!(
            shape_of(&found),
            shape_of(&wanted),
            "edit {} in proto/{file} or service.proto.template",
            kind.service_name()
        );
    }
}

fn shape_of(service: &ServiceDescriptor) -> Vec<String> {
    let methods = service.methods().map(|method| {
        let rule = crate::routes::http_rules(&method)
            .into_iter()
            .map(|rule| format!("{} {} body={:?}", rule.method, rule.template, rule.body))
            .collect::<Vec<_>>();
        let (input, output) = (fields_of(&method.input()), fields_of(&method.output()));
        format!("{} ({input}) returns ({output}) {}", method.name(), rule.join(", "))
    });
    methods.collect()
}

/// Object messages count by their name, since their fields are the kind's own.
fn fields_of(message: &MessageDescriptor) -> String {
    if message.get_field_by_name("spec").is_some() {
        return message.full_name().to_owned();
    }
    let field = |field: prost_reflect::FieldDescriptor| {
        format!(
            "{} {:?} {} = {}",
            if field.is_list() { "repeated" } else { "" },
            field.kind(),
            field.name(),
            field.number()
        )
    };
    message.fields().map(field).collect::<Vec<_>>().join("; ")
}
