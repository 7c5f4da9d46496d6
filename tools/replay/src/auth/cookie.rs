//! The cookies: sealed under the store's key, so that every instance understands them and none remembers them.
//!
//! A cookie of a local user carries the name alone, one of somebody whom an issuer named what that one said of her; what that is
//! worth is looked up in the configuration each time. Signing out makes this instance refuse the cookie until it would have expired anyway; others only learn of it by the cookie being gone.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelvault::Sealer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The cookie of somebody signed in.
pub(crate) const NAME: &str = "__Host-reelvault";
/// The cookie of somebody who is signing in elsewhere.
pub(crate) const FLOW_NAME: &str = "__Host-reelvault-oidc";
/// For what cookies are sealed.
pub(crate) const PURPOSE: &str = "replay service cookies";
/// Cookies that are remembered as signed out; the oldest are forgotten first.
const SIGNED_OUT_MAX: usize = 100_000;

/// Who is signed in.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    pub(crate) id: String,
    pub(crate) who: Person,
    pub(crate) expires_ms: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Person {
    /// A local user.
    User(String),
    /// Somebody whom an issuer named, with those of the claims, and their values, that meant something when signing in. What one
    /// issuer said is worth nothing where the configuration names another under the same id.
    Issuer {
        oidc: String,
        issuer: String,
        subject: String,
        name: String,
        claims: Vec<(String, String)>,
    },
}

/// Seals what a cookie holds.
pub(crate) fn seal<T: Serialize>(
    sealer: &Sealer,
    name: &str,
    content: &T,
) -> Result<String, reelvault::Error> {
    let text = serde_json::to_vec(content).unwrap_or_default();
    Ok(URL_SAFE_NO_PAD.encode(sealer.seal(name.as_bytes(), &text)?))
}

/// Opens a cookie; whatever is wrong with it, it is none.
pub(crate) fn open<T: DeserializeOwned>(sealer: &Sealer, name: &str, value: &str) -> Option<T> {
    let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
    serde_json::from_slice(&sealer.open(name.as_bytes(), &sealed).ok()?).ok()
}

/// The value of a cookie in the headers of a request; `None` if there are two of the name, for then somebody else set one.
pub(crate) fn find<'a>(headers: &'a axum::http::HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(axum::http::header::COOKIE).iter();
    let pairs = all.filter_map(|h| h.to_str().ok()).flat_map(|h| h.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|p| p.0 == name);
    let value = values.next()?.1;
    if values.next().is_some() { None } else { Some(value) }
}

/// A `Set-Cookie` header.
pub(crate) fn set(name: &str, value: &str, same_site: &str, seconds: u64) -> String {
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={seconds}")
}

/// A `Set-Cookie` header that removes a cookie.
pub(crate) fn remove(name: &str, same_site: &str) -> String {
    set(name, "", same_site, 0)
}

/// Cookies that were signed out, until they expire.
#[derive(Default)]
pub(crate) struct SignedOut(Mutex<HashMap<String, u64>>);

impl SignedOut {
    pub(crate) fn add(&self, id: &str, expires_ms: u64, now_ms: u64) {
        let Ok(mut out) = self.0.lock() else { return };
        if out.len() >= SIGNED_OUT_MAX {
            out.retain(|_, expires| *expires > now_ms);
        }
        if out.len() >= SIGNED_OUT_MAX
            && let Some(first) = out.iter().min_by_key(|(_, e)| **e).map(|(id, _)| id.clone())
        {
            out.remove(&first);
        }
        out.insert(id.to_owned(), expires_ms);
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        // A poisoned lock lets nobody in.
        self.0.lock().map_or(true, |out| out.contains_key(id))
    }
}
