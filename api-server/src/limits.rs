//! Bounds on body, time and concurrency, for gRPC and REST alike.
