//! The keys of an issuer, from a file or an address, and how they change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};

use crate::limits::{CLOCK_LEEWAY_SECONDS, KEYS_MAX, REFETCH_TIME_MAX, REFETCH_TIME_MIN};

use super::Claims;
use super::fetch::{Fetch, FetchError};

/// The algorithms that are accepted. All are of public keys, so that a key's public half can sign nothing.
pub(crate) const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// Where keys come from.
#[derive(Clone)]
pub(crate) enum Place {
    File(PathBuf),
    Url(String, Fetch),
}

/// A key, and the one algorithm that it is for.
pub(crate) struct Known {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

struct Kept {
    keys: Arc<Vec<Known>>,
    /// When they were last asked for, with or without success.
    asked: Option<Instant>,
}

/// The keys of an issuer. Reading them may block.
pub(crate) struct Keys {
    place: Place,
    kept: Mutex<Kept>,
    asking: Mutex<()>,
}

/// Why a token is not believed. It is the same to whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub(crate) struct NotValid;

impl Keys {
    pub(crate) fn new(place: Place) -> Self {
        let kept = Mutex::new(Kept { keys: Arc::default(), asked: None });
        Self { place, kept, asking: Mutex::new(()) }
    }

    /// Checks a token's signature, issuer, audience and times; returns its claims.
    pub(crate) fn check(
        &self,
        token: &str,
        issuer: &str,
        audience: &str,
    ) -> Result<Claims, NotValid> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| NotValid)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(NotValid);
        }
        let mut keys = self.keys(REFETCH_TIME_MAX);
        if !keys.iter().any(|k| fits(k, &header)) {
            // The issuer may have begun to use another key.
            keys = self.keys(REFETCH_TIME_MIN);
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = CLOCK_LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let mut fitting = keys.iter().filter(|k| fits(k, &header));
        fitting
            .find_map(|k| jsonwebtoken::decode::<Claims>(token, &k.key, &validation).ok())
            .map(|data| data.claims)
            .ok_or(NotValid)
    }

    /// The keys, asked for again if they are older than that.
    fn keys(&self, older_than: std::time::Duration) -> Arc<Vec<Known>> {
        let kept = || self.kept.lock().map(|k| (Arc::clone(&k.keys), k.asked)).unwrap_or_default();
        let is_old = |asked: Option<Instant>| asked.is_none_or(|at| at.elapsed() >= older_than);
        let (keys, asked) = kept();
        if !is_old(asked) {
            return keys;
        }
        // The issuer is asked once. Whoever comes meanwhile goes on with what is known, or waits if nothing is.
        let turn = match self.asking.try_lock() {
            Err(_) if asked.is_some() => return keys,
            Ok(turn) => turn,
            Err(_) => match self.asking.lock() {
                Ok(turn) => turn,
                Err(_) => return keys,
            },
        };
        let (keys, asked) = kept();
        if !is_old(asked) {
            return keys;
        }
        let fetched = self.fetch();
        drop(turn);
        let Ok(mut kept) = self.kept.lock() else { return keys };
        kept.asked = Some(Instant::now());
        match fetched {
            Ok(keys) => kept.keys = Arc::new(keys),
            // What was known goes on: the issuer's bad minute is not everybody's.
            Err(e) => tracing::warn!(error = %e, "the keys of an issuer cannot be read"),
        }
        Arc::clone(&kept.keys)
    }

    fn fetch(&self) -> Result<Vec<Known>, FetchError> {
        let set = match &self.place {
            Place::Url(url, fetch) => fetch.get(url)?,
            Place::File(path) => {
                let bytes = std::fs::read(path).map_err(|_| FetchError::Malformed)?;
                serde_json::from_slice(&bytes).map_err(|_| FetchError::Malformed)?
            }
        };
        let keys = set.get("keys").and_then(serde_json::Value::as_array);
        let keys = keys.ok_or(FetchError::Malformed)?;
        Ok(keys.iter().take(KEYS_MAX).filter_map(known).collect())
    }
}

/// A key that is for checking signatures by one of our algorithms; others are passed over, as RFC 7517 asks.
pub(crate) fn known(value: &serde_json::Value) -> Option<Known> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|u| *u != PublicKeyUse::Signature) {
        return None;
    }
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let algorithm = match (text("kty")?, text("crv")) {
        ("RSA", None) => Algorithm::RS256,
        ("EC", Some("P-256")) => Algorithm::ES256,
        ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
        _ => return None,
    };
    let named = text("alg").is_none_or(|alg| alg == format!("{algorithm:?}"));
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    named.then_some(Known { id: jwk.common.key_id, algorithm, key })
}

/// Whether a token of this header may have been signed with that key.
fn fits(key: &Known, header: &Header) -> bool {
    key.algorithm == header.alg
        && match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (Some(_), None) => false,
            (None, _) => true,
        }
}
