//! Publishes hints to JetStream: which objects are due. The broker may lose everything.
