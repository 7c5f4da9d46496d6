//! Signing in at an issuer: OpenID Connect, authorization code with PKCE. Everything here but the names may block.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reelvault::env::Env;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::access::Grant;
use crate::config::Oidc;
use crate::limits::{OIDC_FLOW_MS_MAX, REFETCH_TIME_MAX, TOKEN_BYTES_MAX};
use crate::text::escape;

use super::cookie::Person;
use super::fetch::{Fetch, FetchError, is_allowed};
use super::jwks::{Keys, Place};
use super::{Claims, random_text, text};

/// An issuer at which people sign in.
pub(crate) struct OpenId {
    pub(crate) rules: Oidc,
    secret: Option<Zeroizing<String>>,
    fetch: Fetch,
    known: Mutex<Option<(Instant, Arc<Discovered>)>>,
}

/// What an issuer says of itself.
struct Discovered {
    authorization: String,
    token: String,
    keys: Keys,
}

/// What is remembered of a sign-in that is under way, in a cookie of the browser that began it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Flow {
    oidc: String,
    state: String,
    nonce: String,
    verifier: String,
    expires_ms: u64,
}

/// Why a sign-in did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// The browser's answer is not to the question that this browser asked.
    #[error("the answer belongs to no sign-in that was begun here")]
    Flow,
    /// The issuer refused, or its token is not for us.
    #[error("the issuer did not confirm who it is")]
    Refused,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("randomness: {0}")]
    Random(#[from] std::io::Error),
}

fn read_secret(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl OpenId {
    pub(crate) fn new(rules: &Oidc) -> Result<Self, OidcError> {
        let secret = rules.client_secret_file.as_deref().map(read_secret).transpose()?;
        let fetch = Fetch::new(rules.ca_file.as_deref())?;
        Ok(Self { rules: rules.clone(), secret, fetch, known: Mutex::new(None) })
    }

    fn discovered(&self) -> Result<Arc<Discovered>, OidcError> {
        let Ok(mut known) = self.known.lock() else { return Err(OidcError::Refused) };
        if let Some((at, discovered)) = &*known
            && at.elapsed() < REFETCH_TIME_MAX
        {
            return Ok(Arc::clone(discovered));
        }
        let issuer = self.rules.issuer.trim_end_matches('/');
        let document = self.fetch.get(&format!("{issuer}/.well-known/openid-configuration"))?;
        let field = |name: &str| {
            let value = document.get(name).and_then(serde_json::Value::as_str);
            value.ok_or(FetchError::Malformed)
        };
        // A document that speaks for another issuer is a mix-up (RFC 9207, OpenID Connect Discovery 4.3).
        if field("issuer")? != self.rules.issuer {
            return Err(FetchError::Malformed.into());
        }
        let (authorization, token) = (field("authorization_endpoint")?, field("token_endpoint")?);
        let keys = field("jwks_uri")?;
        if ![authorization, token, keys].into_iter().all(is_allowed) {
            return Err(FetchError::NotHttps.into());
        }
        let discovered = Arc::new(Discovered {
            authorization: authorization.to_owned(),
            token: token.to_owned(),
            keys: Keys::new(Place::Url(keys.to_owned(), self.fetch.clone())),
        });
        *known = Some((Instant::now(), Arc::clone(&discovered)));
        Ok(discovered)
    }

    /// Begins a sign-in: where the browser is to go, and what it is to remember.
    pub(crate) fn start(&self, env: &Env, redirect: &str) -> Result<(String, Flow), OidcError> {
        let discovered = self.discovered()?;
        let flow = Flow {
            oidc: self.rules.id.clone(),
            state: random_text::<24>(&*env.random)?,
            nonce: random_text::<24>(&*env.random)?,
            verifier: random_text::<48>(&*env.random)?,
            expires_ms: env.clock.now_ms().saturating_add(OIDC_FLOW_MS_MAX),
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&flow.verifier));
        let fields = [
            ("response_type", "code"),
            ("client_id", &self.rules.client_id),
            ("redirect_uri", redirect),
            ("scope", &self.rules.scopes),
            ("state", &flow.state),
            ("nonce", &flow.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query: Vec<String> = fields.iter().map(|(n, v)| format!("{n}={}", escape(v))).collect();
        let joined = if discovered.authorization.contains('?') { '&' } else { '?' };
        Ok((format!("{}{joined}{}", discovered.authorization, query.join("&")), flow))
    }

    /// Ends a sign-in: who it is.
    pub(crate) fn finish(
        &self,
        now_ms: u64,
        redirect: &str,
        flow: &Flow,
        state: &str,
        code: &str,
    ) -> Result<Person, OidcError> {
        let same: bool =
            subtle::ConstantTimeEq::ct_eq(flow.state.as_bytes(), state.as_bytes()).into();
        if !same || flow.oidc != self.rules.id || now_ms >= flow.expires_ms {
            return Err(OidcError::Flow);
        }
        let discovered = self.discovered()?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("client_id", &self.rules.client_id),
            ("code_verifier", &flow.verifier),
        ];
        if let Some(secret) = &self.secret {
            form.push(("client_secret", secret));
        }
        let answer = match self.fetch.post(&discovered.token, &form) {
            // The code is wrong, was used, or is for somebody else (RFC 6749, 5.2).
            Err(FetchError::Status(400..=403)) => return Err(OidcError::Refused),
            answer => answer?,
        };
        let token = answer.get("id_token").and_then(serde_json::Value::as_str);
        let token = token.filter(|t| t.len() <= TOKEN_BYTES_MAX).ok_or(OidcError::Refused)?;
        let claims = discovered.keys.check(token, &self.rules.issuer, &self.rules.client_id);
        let claims = claims.map_err(|_| OidcError::Refused)?;
        if text(&claims, "nonce") != Some(&flow.nonce) {
            return Err(OidcError::Refused);
        }
        // A token for several audiences must name us as the one it was made for.
        let several = claims.get("aud").and_then(serde_json::Value::as_array);
        if several.is_some_and(|all| all.len() > 1)
            && text(&claims, "azp") != Some(&self.rules.client_id)
        {
            return Err(OidcError::Refused);
        }
        let subject = text(&claims, "sub").ok_or(OidcError::Refused)?.to_owned();
        let name = ["name", "email", "preferred_username"];
        let name = name.iter().find_map(|n| text(&claims, n)).unwrap_or(&subject).to_owned();
        let grants = self.grants(&claims);
        Ok(Person::Issuer { oidc: self.rules.id.clone(), subject, name, grants })
    }

    /// What the claims are worth here.
    fn grants(&self, claims: &Claims) -> Vec<Grant> {
        let mut grants = Vec::new();
        for grant in &self.rules.grants {
            let verified = claims.get("email_verified") == Some(&serde_json::Value::Bool(true));
            // An address that nobody verified is what the person typed.
            if grant.claim == "email" && !verified {
                continue;
            }
            let is = |value: &serde_json::Value| value.as_str() == Some(&grant.value);
            let has = match claims.get(&grant.claim) {
                Some(serde_json::Value::Array(all)) => all.iter().any(is),
                Some(value) => is(value),
                None => false,
            };
            if has {
                grants.push(Grant { site: grant.site.clone(), roles: grant.roles.clone() });
            }
        }
        grants
    }
}
