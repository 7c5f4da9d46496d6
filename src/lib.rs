//! An embedded, encrypted, log-structured store for session recordings.
mod archive;
mod cache;
mod chunk;
mod crypto;
pub mod env;
mod error;
pub mod format;
mod ids;
mod journal;
mod keyring;
pub mod limits;
#[cfg(feature = "rrweb")]
mod rrweb;
mod segment;
mod seqset;
mod store;
mod zst;

pub use chunk::{Chunk, Kind, Session, Snapshot};
pub use error::{Corruption, Damage, Error, InputError, Result};
pub use ids::{FileId, SessionId, SessionTag, SiteHandle, SiteId, StoreId, VisitorId, VisitorTag};
pub use journal::scan::Recovery;
pub use keyring::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, DataKey, KeyFile,
    KeyProvider, Passphrase, ProviderKind, Wrapped,
};
pub use store::{
    Appended, Cursor, Depth, Durability, Options, Order, Page, Position, Query, READ_BYTES_MAX,
    Replay, ReplayError, ReplayedChunk, SessionInfo, Site, SiteInfo, Stats, Store, Verification,
};
