//! Command line and environment of the API server.
