//! The commands: one file each, with its arguments, its examples and its `run`.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod deletions;
pub(crate) mod erase;
pub(crate) mod export;
pub(crate) mod hold;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod man;
pub(crate) mod prune;
pub(crate) mod reclaim;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod show;
pub(crate) mod site;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod verify;
