//! An embedded, encrypted, log-structured store for session recordings.
//!
//! Recording services keep what visitors did on their customers' sites: web session replays (rrweb events) and
//! chat transcripts. reelvault is the engine beneath. A service links the crate and appends; what it
//! appended is durable when the call returns, and everything on disk is AES-256-GCM (or, if chosen, AES-256-GCM-SIV
//! for new data) under keys of the one site and session it belongs to.
//!
//! | word | meaning |
//! |---|---|
//! | [site](SiteId) | one customer |
//! | [session](Session), [visitor](VisitorId) | one recording, and whom it shows |
//! | [chunk](Chunk) | what a recorder uploads at once: events as NDJSON |
//! | journal | chunks in the order in which they arrived, durable by group commit |
//! | segment | chunks in the order of sessions, immutable, one start day and retention class each |
//! | keyring | the sealed state of all keys, kept apart from the data |
//!
//! # Example
//!
#![cfg_attr(feature = "rrweb", doc = "```")]
#![cfg_attr(not(feature = "rrweb"), doc = "```ignore")]
//! use std::sync::Arc;
//! use reelvault::env::Env;
//! use reelvault::{Chunk, KeyFile, Options, Query, Session, SessionId, SiteId, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("reelvault-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! let key = Arc::new(KeyFile::create(&Env::real(), &dir.join("key"))?);
//! let mirrors = [dir.join("keys-a/keyring"), dir.join("keys-b/keyring")];
//! let store = Store::create(Options::new(dir.join("store"), mirrors, key))?;
//! let site = store.add_site(SiteId::new("shop.example")?, 30)?;
//!
//! let session = Session::new(SessionId::new("s-1")?);
//! let now = Env::real().clock.now_ms();
//! let events = format!("{{\"type\":3,\"timestamp\":{now},\"data\":{{}}}}\n");
//! site.append(&session, &Chunk::from_events(0, events.as_bytes())?)?;
//!
//! let page = site.sessions(&Query::new().between(now, now + 60_000))?;
//! let mut out = Vec::new();
//! site.replay(&page.sessions[0].id)?.write_to(&mut out)?;
//! assert_eq!(out, events.as_bytes());
//! # drop((site, store));
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! * An append that returned is there after any crash; one that did not may be there or not, never in part.
//! * A reader never sees what a crash could take back.
//! * Rot, truncation, swapped files and tampering give an [error](Error) that names the file, the place and the site; never
//!   wrong data, and never a panic. Other sites go on.
//! * A failed sync is final: the shard takes no more appends until the store is opened again.
//! * What expires or is erased can be read by nobody any more, in the store and in every copy ever made of it, once the call returns
//!   ([`retention`]). Nothing is deleted early, also when the clock jumps.
//! * The bytes on disk are described in [`format`](mod@format), with their limits; those on input are in [`limits`].
//!
//! Features: `rrweb` reads times and snapshots out of events (`Chunk::from_events`); `aws-lc` has AES-256-GCM by AWS-LC, two to three times as
//! fast; `sim` is the simulated disk for tests; `planted-bugs` breaks the store on purpose, to test campaigns of faults.

mod archive;
pub mod backup;
mod cache;
mod chunk;
mod crypto;
pub mod env;
mod error;
pub mod format;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod journal;
mod keyring;
pub mod limits;
mod parallel;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod retention;
#[cfg(feature = "rrweb")]
mod rrweb;
mod segment;
mod seqset;
mod store;
mod sync;
mod zst;

pub use chunk::{Chunk, Kind, Session, Snapshot};
pub use crypto::Suite;
#[cfg(feature = "sim")]
pub use crypto::ledger;
pub use error::{Corruption, Damage, Error, InputError, Result};
pub use ids::{
    FileId, HoldId, SessionId, SessionTag, SiteHandle, SiteId, StoreId, VisitorId, VisitorTag,
};
pub use journal::scan::Recovery;
pub use keyring::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, DataKey, Destruction,
    KeyFile, KeyProvider, KeyStatus, MirrorState, MirrorStatus, Passphrase, ProviderKind,
    Published, VersionEnd,
};
pub use store::{
    Appended, Cursor, Deletions, Depth, Durability, Erasure, Expiry, Held, HoldInfo, NextBytes,
    Options, Order, PURPOSE_BYTES_MAX, PackedReplay, Page, Played, Position, Query, READ_BYTES_MAX,
    RECLAIM_SHARE, Reclaimed, Replay, ReplayError, ReplayedChunk, Retention, SEALED_BYTES_MORE,
    Sealer, SegmentStatus, SessionInfo, Site, SiteInfo, Stats, Store, Verification,
};
