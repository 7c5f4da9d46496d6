//! Journals: the arrival-ordered log of a shard, its group commit, its recovery, and where the frames lie.
//!
//! The journal is the hot store: memory holds only where frames are ([`table`]), never what is in them.
//! Nothing here knows of segments.

pub(crate) mod file;
pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod table;
