//! An embedded, encrypted, log-structured store for session recordings.
mod crypto;
pub mod env;
mod error;
pub mod format;
mod ids;
pub mod limits;
pub use error::{Corruption, Damage, Error, InputError, Result};
pub use ids::{FileId, SessionId, SessionTag, SiteHandle, SiteId, StoreId, VisitorId, VisitorTag};
