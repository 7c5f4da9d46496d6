//! The replay service: lets authorised people watch, search and export the sessions of their own site, straight out of a
//! store, in a browser.
//!
//! [`start`] serves a [`Source`] by a [`Config`](config::Config). What a request passes, from outside to inside:
//!
//! | where | what |
//! |---|---|
//! | `tls` | certificates by host name, handshakes, clients that are too slow |
//! | `layer` | one host, one address, limits, headers of every answer, problems, figures |
//! | `call`, `auth`, `access` | who asks, for which one site, in which role: decided before anything is opened |
//! | `api`, `stream` | the answers; replays are passed on as they are stored |
//! | `audit`, `sealed_log` | what was done, sealed and chained |
//! | `monitor` | metrics, scrub, checks, incidents |
//!
//! Nothing here holds a recording: events go from the engine to the client, piece by piece.

#![allow(
    clippy::disallowed_methods,
    reason = "configuration and certificates are its user's files"
)]

mod access;
mod api;
mod app;
pub mod audit;
pub mod auth;
mod blocking;
mod call;
pub mod config;
mod host;
mod layer;
pub mod limits;
pub mod logs;
mod memory;
mod monitor;
#[cfg(test)]
mod parser_tests;
mod problem;
mod rate;
mod sealed_log;
mod service;
mod shares;
mod source;
mod stream;
mod text;
mod tls;

pub use access::{ROLES, Role, Scope};
pub use auth::link::make as make_link;
pub use sealed_log::LogError;
pub use service::{Running, StartError, start};
pub use source::{Backups, LiveStore, OpenForWriting, Source};
pub use tls::certificates::CertificateError;

/// The OpenAPI document of the interface, as JSON.
///
/// # Errors
/// None that is known of.
pub fn openapi() -> Result<String, serde_json::Error> {
    api::document()
}
