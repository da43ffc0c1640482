//! What is served by the kinds in force: their services, the REST routes and reflection.

use std::collections::HashMap;
use std::sync::Arc;

use prost_reflect::{DescriptorPool, MethodDescriptor};
use threeport::kind::Kind;
use threeport::registry::Registry;
use tonic::service::Routes;

use crate::routes::{Route, Tree, routes};

/// Derived from one registry; made anew when that is replaced.
pub struct Catalog {
    registry: Arc<Registry>,
    /// By the full name of their service.
    kinds: HashMap<String, Arc<Kind>>,
    /// gRPC paths, and whether their answer is a stream.
    methods: HashMap<String, bool>,
    pub routes: Tree<Arc<Route>>,
    reflection: Routes,
}

impl Catalog {
    /// # Errors
    /// When templates collide or the descriptors are malformed.
    pub fn of(registry: Arc<Registry>) -> Result<Self, String> {
        let kinds = registry.kinds().map(|kind| (kind.service_name(), kind.clone())).collect();
        let routes = routes(registry.pool())?;
        let reflection = reflection(&registry).map_err(|error| error.to_string())?;
        let mut methods = HashMap::from([
            ("/grpc.health.v1.Health/Check".to_owned(), false),
            ("/grpc.health.v1.Health/List".to_owned(), false),
            ("/grpc.health.v1.Health/Watch".to_owned(), true),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned(), true),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo".to_owned(), true),
        ]);
        for service in registry.pool().services() {
            let path = |method: &MethodDescriptor| format!("/{}/{}", service.full_name(), method.name());
            methods.extend(service.methods().map(|method| (path(&method), method.is_server_streaming())));
        }
        Ok(Self { registry, kinds, methods, routes, reflection })
    }

    pub fn pool(&self) -> &DescriptorPool {
        self.registry.pool()
    }

    pub fn is_of(&self, registry: &Arc<Registry>) -> bool {
        Arc::ptr_eq(&self.registry, registry)
    }

    /// The kind whose service this gRPC path names.
    pub fn kind_of(&self, path: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(path.strip_prefix('/')?.split_once('/')?.0)
    }

    pub fn is_method(&self, path: &str) -> bool {
        self.methods.contains_key(path)
    }

    pub fn is_stream(&self, path: &str) -> bool {
        self.methods.get(path).copied().unwrap_or_default()
    }

    /// The reflection services, which know all others.
    pub fn reflection(&self) -> Routes {
        self.reflection.clone()
    }
}

fn reflection(registry: &Registry) -> Result<Routes, tonic_reflection::server::Error> {
    let all = registry.pool().encode_to_vec();
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&all)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(builder().build_v1()?).add_service(builder().build_v1alpha()?).prepare())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_served() {
        let catalog = Catalog::of(Arc::new(Registry::built_in().clone())).unwrap();
        assert_eq!(catalog.kind_of("/threeport.v1.WorkloadService/Get").unwrap().name, "workload");
        assert!(catalog.kind_of("/threeport.v1.ObjectService/Get").is_none());
        assert!(catalog.is_stream("/threeport.v1.ObjectService/Watch"));
        assert!(!catalog.is_stream("/threeport.v1.ObjectService/Get"));
    }
}
