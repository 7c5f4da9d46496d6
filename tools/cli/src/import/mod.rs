//! Reading recordings: which files there are, what is in them, and how it becomes chunks.
//!
//! [`plan`] finds files and looks into each; [`source`] unpacks and splits into lines or array elements; [`formats`]
//! makes chunks, with [`chat`] and [`chunks`]; [`feed`] appends them and counts; [`work`] does so with several writers at a time.

mod chat;
mod chunks;
mod cut;
mod feed;
mod formats;
pub(crate) mod plan;
mod source;
mod split;
pub(crate) mod tally;
pub(crate) mod work;
