//! How a caller proves who it is: by a bearer token of an issuer, or by the cookie that signing in gave.

pub(crate) mod bearer;
pub(crate) mod cookie;
pub(crate) mod fetch;
pub(crate) mod jwks;
pub(crate) mod link;
pub mod local;
pub(crate) mod oidc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelvault::env::Random;

/// Random bytes as text that fits into an address.
pub(crate) fn random_text<const N: usize>(random: &dyn Random) -> std::io::Result<String> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The claims of a token, as far as they are of interest.
pub(crate) type Claims = serde_json::Map<String, serde_json::Value>;

/// A claim that is a text.
pub(crate) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(serde_json::Value::as_str)
}
