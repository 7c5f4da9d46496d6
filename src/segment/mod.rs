//! Segments: immutable files in session order, their writer and their reader.
//!
//! Nothing here knows of journals or of the manifest; what a segment is made of comes from `archive`.

pub(crate) mod reader;
pub(crate) mod writer;
