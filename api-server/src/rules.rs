//! What each kind demands beyond being stored.
