//! gRPC services: thin edges over the store.
