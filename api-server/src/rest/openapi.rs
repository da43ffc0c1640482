//! The `OpenAPI` document of the REST API, made from the descriptors in force: kinds registered at run time are in it.

mod schema;

use std::collections::BTreeMap;

use http::Method;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MethodDescriptor};
use serde_json::{Map, Value, json};
use threeport::comments;

use self::schema::Schemas;
use crate::routes::{HttpRule, http_rules};

/// The document for all services of a pool.
pub fn document(pool: &DescriptorPool) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = BTreeMap::<String, Map<String, Value>>::new();
    for service in pool.services() {
        for rpc in service.methods() {
            for (index, rule) in http_rules(&rpc).into_iter().enumerate() {
                let operation = operation(&rpc, &rule, index, &mut schemas);
                let path = paths.entry(rule.template.clone()).or_default();
                path.insert(rule.method.as_str().to_lowercase(), operation);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Threeport", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": { "Error": { "description": "google.rpc.Status", "content": json_content(&error_schema()) } },
        },
    })
}

fn operation(rpc: &MethodDescriptor, rule: &HttpRule, index: usize, schemas: &mut Schemas) -> Value {
    let service = rpc.parent_service();
    let tag = service.name().strip_suffix("Service").unwrap_or(service.name());
    let mut id = format!("{}_{}", service.name(), rpc.name());
    if index > 0 {
        // Each binding of an RPC is an operation of its own.
        id = format!("{id}_{}", index + 1);
    }
    let mut operation = json!({
        "operationId": id,
        "tags": [tag],
        "summary": comments::of_method(rpc),
        "parameters": parameters(rpc, rule, schemas),
        "responses": {
            "200": { "description": "OK", "content": answer(rpc, schemas) },
            "default": { "$ref": "#/components/responses/Error" },
        },
    });
    if let Some(body) = body(rpc, rule, schemas) {
        operation["requestBody"] = json!({ "required": true, "content": json_content(&body) });
    }
    operation
}

/// Path variables, and the query for every other field that isn't in the body.
fn parameters(rpc: &MethodDescriptor, rule: &HttpRule, schemas: &mut Schemas) -> Vec<Value> {
    let input = rpc.input();
    let in_path = |field: &FieldDescriptor| rule.variables().any(|name| name == field.name());
    let in_query = |field: &FieldDescriptor| match rule.body.as_deref() {
        Some("*") => false,
        Some(body) => body != field.name() && is_plain(field),
        None => is_plain(field),
    };
    let mut parameters = Vec::new();
    for field in input.fields() {
        let place = match (in_path(&field), in_query(&field)) {
            (true, _) => "path",
            (false, true) => "query",
            (false, false) => continue,
        };
        let mut parameter = json!({ "name": field.name(), "in": place, "schema": schemas.of_field(&field),
            "description": comments::of_field(&field) });
        if place == "path" {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    parameters
}

/// Whether a query can hold it.
fn is_plain(field: &FieldDescriptor) -> bool {
    !field.is_map() && !matches!(field.kind(), Kind::Message(_))
}

fn body(rpc: &MethodDescriptor, rule: &HttpRule, schemas: &mut Schemas) -> Option<Value> {
    if rule.method == Method::GET {
        return None;
    }
    match rule.body.as_deref()? {
        "*" => Some(schemas.reference(&rpc.input())),
        name => Some(schemas.of_field(&rpc.input().get_field_by_name(name)?)),
    }
}

fn answer(rpc: &MethodDescriptor, schemas: &mut Schemas) -> Value {
    let answer = schemas.reference(&rpc.output());
    if !rpc.is_server_streaming() {
        return json_content(&answer);
    }
    let line = json!({ "type": "object", "description": "One line of the stream.",
        "properties": { "result": answer, "error": error_schema() } });
    json!({ "application/x-ndjson": { "schema": line } })
}

fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// google.rpc.Status.
fn error_schema() -> Value {
    json!({ "type": "object", "properties": {
        "code": { "type": "integer", "description": "google.rpc.Code" },
        "message": { "type": "string" },
        "details": { "type": "array", "items": { "type": "object" } },
    } })
}

#[cfg(test)]
mod tests {
    use threeport::POOL;

    use super::*;

    #[test]
    fn every_binding_is_an_operation_with_a_summary_and_its_own_id() {
        let document = document(&POOL);
        let mut ids = Vec::new();
        for service in POOL.services() {
            for rpc in service.methods() {
                for rule in http_rules(&rpc) {
                    let operation = &document["paths"][&rule.template][rule.method.as_str().to_lowercase()];
                    assert_ne!(operation["summary"], "", "comment {} in its .proto", rpc.full_name());
                    ids.push(operation["operationId"].as_str().unwrap().to_owned());
                }
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&POOL);
        let mut references = Vec::new();
        gather(&document, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }

    fn gather(json: &Value, references: &mut Vec<String>) {
        match json {
            Value::Object(fields) => {
                references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| gather(value, references));
            }
            Value::Array(items) => items.iter().for_each(|item| gather(item, references)),
            _ => {}
        }
    }

    #[test]
    fn a_write_takes_its_object_and_says_what_may_be_asked() {
        let document = document(&POOL);
        let write = &document["paths"]["/v1/projects/{project}/workloads/{name}"]["put"];
        let content = &write["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(content["$ref"], "#/components/schemas/threeport.v1.Workload");
        let names = write["parameters"].as_array().unwrap().iter();
        let names = names.map(|one| format!("{} {}", one["in"].as_str().unwrap(), one["name"].as_str().unwrap()));
        assert_eq!(names.collect::<Vec<_>>(), ["path project", "path name", "query validate_only", "query request_id"]);
        let watch = &document["paths"]["/v1/watch"]["get"]["responses"]["200"]["content"];
        assert!(watch["application/x-ndjson"]["schema"]["properties"]["result"]["$ref"].is_string());
    }
}
