//! The command as its users meet it.

#![allow(clippy::disallowed_methods, reason = "tests write their own files")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends by panicking")]

mod a_store_is_made_and_needs_its_keys;
mod backups_are_made_checked_restored_and_pruned;
mod bad_days_end_well;
mod common;
mod keys_are_looked_after;
mod recordings_are_served;
mod recordings_of_every_kind_are_imported;
mod sessions_are_listed_shown_and_replayed;
mod what_is_deleted_is_gone;
