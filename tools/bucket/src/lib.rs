//! Buckets of object stores (S3, Google Cloud Storage, Azure) as places for reelvault's repositories.
//!
//! The engine asks and waits; this crate keeps the runtime that the `object_store` crate needs, with two threads. Directories are the engine's
//! own business: its [`DirPlace`] syncs files and folders, gives names to none but whole objects, and runs on the simulated
//! disk, none of which the local store of `object_store` does.

mod bucket;

use std::path::Path;
use std::sync::Arc;

use reelvault::backup::{DirPlace, Place};
use reelvault::env::Env;
use url::{Host, Url};

pub use bucket::Bucket;

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The text is no URL of a kind that is known.
    #[error(
        "{0}: a repository is a directory, file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Url(String),
    /// The connection would not be encrypted.
    #[error("{0}: only a server on this machine may be reached without TLS; use https://")]
    Cleartext(String),
    /// The platform's environment does not say enough.
    #[error("{url}: {cause}")]
    Settings {
        /// The place.
        url: String,
        /// What is missing or wrong.
        cause: String,
    },
}

/// Finds the place that a text names: a directory, or a URL. Credentials come from each platform's usual environment (`AWS_…`, `GOOGLE_…`,
/// `AZURE_…`), or from the machine's role.
///
/// # Errors
/// [`PlaceError`]. Nothing is asked of the place yet.
pub fn place(env: &Env, text: &str) -> Result<Arc<dyn Place>, PlaceError> {
    if !text.contains("://") {
        let dir = text.strip_prefix("file:").unwrap_or(text);
        return Ok(Arc::new(DirPlace::new(env, Path::new(dir))));
    }
    let url = Url::parse(text).map_err(|_| PlaceError::Url(text.to_owned()))?;
    match url.scheme() {
        "file" => {
            let dir = url.to_file_path().map_err(|()| PlaceError::Url(text.to_owned()))?;
            Ok(Arc::new(DirPlace::new(env, dir)))
        }
        "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" => {
            refuse_cleartext()?;
            Ok(Arc::new(Bucket::new(&url)?))
        }
        _ => Err(PlaceError::Url(text.to_owned())),
    }
}

/// Variables that may name a server other than the platform's own.
const ENDPOINTS: [&str; 6] = [
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
    "GOOGLE_BASE_URL",
];

/// Transport is encrypted, but for a server on this very machine.
fn refuse_cleartext() -> Result<(), PlaceError> {
    for endpoint in ENDPOINTS.iter().filter_map(|name| std::env::var(name).ok()) {
        let Ok(url) = Url::parse(&endpoint) else { continue };
        let is_here = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() == "http" && !is_here {
            return Err(PlaceError::Cleartext(endpoint));
        }
    }
    Ok(())
}
