//! REST over the gRPC services, read from google.api.http in the descriptors.
