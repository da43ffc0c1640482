//! The HTTP bindings of all RPCs, read from google.api.http.

mod template;

use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};

pub use template::{Found, Tree, decode};

/// One binding of an RPC to HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpRule {
    pub method: Method,
    /// `/v1/projects/{project}/workloads`.
    pub template: String,
    /// The field that the body is, `*` for the request itself.
    pub body: Option<String>,
}

impl HttpRule {
    /// The fields that stand in the path.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.template.split(['{', '}']).skip(1).step_by(2)
    }
}

/// What a path leads to.
#[derive(Debug)]
pub struct Route {
    pub rpc: MethodDescriptor,
    /// The gRPC path.
    pub path: PathAndQuery,
    pub body: Option<String>,
}

/// The HTTP bindings of an RPC, additional ones included.
pub fn http_rules(method: &MethodDescriptor) -> Vec<HttpRule> {
    let options = method.options();
    let extension = method.parent_pool().get_extension_by_name("google.api.http");
    let Some(extension) = extension.filter(|extension| options.has_extension(extension)) else { return Vec::new() };
    let rule = options.get_extension(&extension);
    let Some(rule) = rule.as_message() else { return Vec::new() };
    let more = rule.get_field_by_name("additional_bindings");
    let more = more.as_ref().and_then(|more| more.as_list()).unwrap_or_default();
    std::iter::once(rule).chain(more.iter().filter_map(Value::as_message)).filter_map(http_rule).collect()
}

fn http_rule(rule: &DynamicMessage) -> Option<HttpRule> {
    let text = |name: &str| Some(rule.get_field_by_name(name)?.as_str()?.to_owned()).filter(|text| !text.is_empty());
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
    let (method, template) = methods
        .into_iter()
        .find_map(|method| Some((text(&method.as_str().to_lowercase())?, method)))
        .map(|(t, m)| (m, t))?;
    Some(HttpRule { method, template, body: text("body") })
}

/// The tree of all HTTP bindings in a pool.
///
/// # Errors
/// When a template can't be served or two collide.
pub fn routes(pool: &DescriptorPool) -> Result<Tree<Arc<Route>>, String> {
    let mut tree = Tree::default();
    for service in pool.services() {
        for rpc in service.methods() {
            let path = format!("/{}/{}", service.full_name(), rpc.name());
            let path = path.parse::<PathAndQuery>().map_err(|error| error.to_string())?;
            for rule in http_rules(&rpc) {
                let route = Route { rpc: rpc.clone(), path: path.clone(), body: rule.body };
                tree.insert(rule.method, &rule.template, Arc::new(route))?;
            }
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use threeport::POOL;

    use super::*;

    #[test]
    fn every_method_of_ours_is_served_over_rest() {
        let tree = routes(&POOL).unwrap();
        for service in POOL.services() {
            for method in service.methods() {
                assert!(!http_rules(&method).is_empty(), "give {} a google.api.http rule", method.full_name());
            }
        }
        let found = tree.find(&Method::GET, "/v1/objects/workload/default/web");
        let Found::Route(route, bound) = found else { panic!("not found") };
        assert_eq!(route.path.as_str(), "/threeport.v1.ObjectService/Get");
        assert_eq!(bound.len(), 3);
    }

    #[test]
    fn variables_and_bodies_are_fields() {
        for service in POOL.services() {
            for method in service.methods() {
                for rule in http_rules(&method) {
                    let input = method.input();
                    let is_field =
                        |name: &str| input.get_field_by_name(name.split('.').next().unwrap_or(name)).is_some();
                    for name in rule.variables().chain(rule.body.as_deref().filter(|body| *body != "*")) {
                        assert!(is_field(name), "{}: {} has no field {name}", rule.template, input.full_name());
                    }
                }
            }
        }
    }
}
