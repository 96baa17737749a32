//! The ring: writing to it and reading from it.

pub(super) mod append;
pub(super) mod batch;
pub(super) mod read;
