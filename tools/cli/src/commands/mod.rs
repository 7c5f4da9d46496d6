//! The commands: one file each, with its arguments, its examples and its `run`.

pub(crate) mod archive;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod replay;
pub(crate) mod sessions;
pub(crate) mod show;
pub(crate) mod site;
pub(crate) mod stats;
pub(crate) mod verify;
