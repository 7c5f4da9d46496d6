//! Bytes: encoding and decoding, without input or output. The authority is the page below.
#![doc = include_str!("FORMAT.md")]

pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod identity;
pub(crate) mod manifest;
pub(crate) mod repository;
pub(crate) mod segment;
