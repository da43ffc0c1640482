//! Puts the pieces together and listens.
