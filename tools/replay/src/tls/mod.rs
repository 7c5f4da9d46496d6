//! TLS: which certificate a client gets, accepting connections, and cutting off those on which nothing moves.

pub(crate) mod activity;
pub(crate) mod certificates;
pub(crate) mod listen;
pub(crate) mod redirect;
mod watched;

use std::sync::Arc;

use reelvault::SiteId;

use activity::Activity;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub(crate) peer: std::net::SocketAddr,
    /// The host name that the client asked for in its handshake.
    pub(crate) sni: Option<String>,
    /// What goes on over it.
    pub(crate) activity: Arc<Activity>,
}

/// Of whom a host name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// The service's own: all sites.
    Service,
    /// A site's.
    Site(SiteId),
}
