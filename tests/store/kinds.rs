//! Kinds registered at run time.

use api_server::error::Error;
use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, field_descriptor_proto,
};
use serde_json::{Value, json};
use threeport::v1::{ListObjectsRequest, Object};

use crate::fixture::{Fixture, KEYS, definition, meta, object, outcomes};

fn field(name: &str, number: i32, message: Option<&str>) -> FieldDescriptorProto {
    let kind =
        if message.is_some() { field_descriptor_proto::Type::Message } else { field_descriptor_proto::Type::String };
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(field_descriptor_proto::Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: message.map(str::to_owned),
        json_name: Some(name.into()),
        ..FieldDescriptorProto::default()
    }
}

/// `acme.v1.Widget {meta, spec: {size, definition}}`.
fn widget(controllers: &Value) -> Object {
    let message = |name: &str, field: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.into()),
        field,
        ..DescriptorProto::default()
    };
    let parts = vec![
        field("meta", 1, Some(".threeport.v1.ObjectMeta")),
        field("spec", 2, Some(".acme.v1.WidgetSpec")),
        field("status", 3, Some(".acme.v1.WidgetStatus")),
    ];
    let conditions = FieldDescriptorProto {
        label: Some(field_descriptor_proto::Label::Repeated.into()),
        ..field("conditions", 2, Some(".threeport.v1.Condition"))
    };
    let generation = FieldDescriptorProto {
        r#type: Some(field_descriptor_proto::Type::Int64.into()),
        json_name: Some("observedGeneration".into()),
        ..field("observed_generation", 1, None)
    };
    let file = FileDescriptorProto {
        name: Some("acme/v1/widget.proto".into()),
        package: Some("acme.v1".into()),
        syntax: Some("proto3".into()),
        dependency: vec!["threeport/v1/meta.proto".into()],
        message_type: vec![
            message("Widget", parts),
            message("WidgetSpec", vec![field("size", 1, None), field("definition", 2, None)]),
            message("WidgetStatus", vec![generation, conditions]),
        ],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let spec = json!({
        "descriptor_set": base64(&set), "message": "acme.v1.Widget", "controllers": controllers,
        "references": [{ "field": "definition", "kind": "workload-definition" }],
    });
    object("object-kind", "", "widget", spec)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_kind_and_its_objects_may_come_in_one_request() {
    let fixture = Fixture::new().await;
    let other = fixture.another(KEYS).await;
    let gear = object("widget", "default", "gear", json!({ "size": "small", "definition": "web" }));
    let objects = [gear.clone(), widget(&json!([])), definition("web")];
    assert_eq!(outcomes(&fixture.apply(&objects).await.unwrap()), ["created"; 3]);
    assert_eq!(meta(&other.get("widgets", "default", "gear").await.unwrap()).name, "gear");
    let used = fixture.delete("workload-definition", "web").await;
    assert!(matches!(used, Err(Error::InUse { .. })), "{used:?}");
    let Err(Error::InUse { users, .. }) = fixture.delete("object-kind", "widget").await else { panic!("deleted") };
    assert_eq!(users, ["widget `default/gear`"]);
    fixture.delete("widget", "gear").await.unwrap();
    fixture.delete("object-kind", "widget").await.unwrap();
    let unknown = fixture.store.list(ListObjectsRequest { kind: "widget".into(), ..Default::default() }).await;
    assert!(matches!(unknown, Err(Error::UnknownKind(_))), "{unknown:?}");
}

#[tokio::test]
async fn a_controller_that_is_added_finds_work_and_one_that_is_removed_leaves_none() {
    let fixture = Fixture::new().await;
    let gear = object("widget", "default", "gear", json!({ "size": "small" }));
    fixture.apply(&[gear, widget(&json!([]))]).await.unwrap();
    fixture.apply(&[widget(&json!([{ "name": "painter" }]))]).await.unwrap();
    let painters = "SELECT count(*) FROM work WHERE kind = 'widget' AND controller = 'painter' AND due_at <= now()";
    assert_eq!(fixture.count(painters).await, 1);
    fixture.apply(&[widget(&json!([]))]).await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM work WHERE kind = 'widget'").await, 0);
}

/// `acme.v1.Gadget {meta, spec: {widget}}`, whose field names a widget.
fn gadget() -> Object {
    let mut file = FileDescriptorProto {
        name: Some("acme/v1/gadget.proto".into()),
        package: Some("acme.v1".into()),
        syntax: Some("proto3".into()),
        dependency: vec!["threeport/v1/meta.proto".into()],
        ..FileDescriptorProto::default()
    };
    let parts = vec![field("meta", 1, Some(".threeport.v1.ObjectMeta")), field("spec", 2, Some(".acme.v1.GadgetSpec"))];
    for (name, field) in [("Gadget", parts), ("GadgetSpec", vec![field("widget", 1, None)])] {
        file.message_type.push(DescriptorProto { name: Some(name.into()), field, ..DescriptorProto::default() });
    }
    let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    let spec = json!({
        "descriptor_set": base64(&set), "message": "acme.v1.Gadget",
        "references": [{ "field": "widget", "kind": "widget" }],
    });
    object("object-kind", "", "gadget", spec)
}

#[tokio::test]
async fn a_kind_that_another_kind_refers_to_stays() {
    let fixture = Fixture::new().await;
    fixture.apply(&[gadget(), widget(&json!([]))]).await.unwrap();
    let Err(Error::InUse { users, .. }) = fixture.delete("object-kind", "widget").await else { panic!("deleted") };
    assert_eq!(users, ["object-kind `gadget`"]);
    // Whatever has happened to the stored kinds, a server starts and serves those that go together.
    fixture.sql().await.execute("DELETE FROM objects WHERE name = 'widget'", &[]).await.unwrap();
    let server = fixture.another(KEYS).await;
    assert!(matches!(server.kind("gadget").await, Err(Error::UnknownKind(_))));
    assert!(server.kind("workload").await.is_ok());
    fixture.delete("object-kind", "gadget").await.unwrap();
}

#[tokio::test]
async fn an_object_of_a_kind_that_went_meanwhile_is_refused() {
    let fixture = Fixture::new().await;
    fixture.apply(&[widget(&json!([]))]).await.unwrap();
    // Another server deletes the kind; this one has not heard of it.
    let other = fixture.another(KEYS).await;
    other.delete(crate::fixture::deletion("object-kind", "widget"), &crate::fixture::cause()).await.unwrap();
    let written = fixture.apply(&[object("widget", "default", "gear", json!({}))]).await;
    assert!(matches!(written, Err(Error::UnknownKind(_))), "{written:?}");
}

#[tokio::test]
async fn our_own_names_are_taken() {
    let fixture = Fixture::new().await;
    let mut kind = widget(&json!([]));
    kind.meta.as_mut().unwrap().name = "workload".into();
    let Err(Error::Invalid(violations)) = fixture.apply(&[kind]).await else { panic!("stored") };
    assert!(violations.iter().any(|violation| violation.field == "meta.name"), "{violations:?}");
}
