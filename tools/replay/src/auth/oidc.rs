//! Signing in at an issuer: OpenID Connect, authorization code with PKCE. Everything here but the names may block.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use reelvault::env::Env;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::access::Grant;
use crate::config::{Oidc, OidcGrant};
use crate::limits::{
    OIDC_FLOW_MS_MAX, REFETCH_TIME_MAX, REFETCH_TIME_MIN, SIGN_INS_AT_ISSUER_MAX, TOKEN_BYTES_MAX,
};
use crate::text::escape;

use super::cookie::Person;
use super::fetch::{Fetch, FetchError, is_allowed};
use super::jwks::{Keys, Place};
use super::{Claims, random_text, text};

/// Bytes of a name that is shown: it stands in a cookie, which has no room for what somebody may write of herself.
const NAME_BYTES_MAX: usize = 128;

/// An issuer at which people sign in.
pub(crate) struct OpenId {
    pub(crate) rules: Oidc,
    secret: Option<Zeroizing<String>>,
    fetch: Fetch,
    known: Mutex<Known>,
    asking: Mutex<()>,
    /// Steps of signing in there that may go on at a time.
    pub(crate) places: Arc<Semaphore>,
}

/// What is known of an issuer, and when it was last asked and whether it answered.
#[derive(Default)]
struct Known {
    discovered: Option<Arc<Discovered>>,
    asked: Option<(Instant, bool)>,
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
        let places = Arc::new(Semaphore::new(SIGN_INS_AT_ISSUER_MAX));
        let (known, asking) = (Mutex::default(), Mutex::default());
        Ok(Self { rules: rules.clone(), secret, fetch, known, asking, places })
    }

    fn discovered(&self) -> Result<Arc<Discovered>, OidcError> {
        if let Some(answer) = self.remembered() {
            return answer;
        }
        // The issuer is asked once. Whoever comes meanwhile goes on with what is known, or waits if nothing is.
        let turn = match (self.asking.try_lock(), self.stale()) {
            (Some(turn), _) => turn,
            (None, Some(stale)) => return Ok(stale),
            (None, None) => self.asking.lock(),
        };
        if let Some(answer) = self.remembered() {
            return answer;
        }
        let asked = self.ask();
        let mut known = self.known.lock();
        known.asked = Some((Instant::now(), asked.is_ok()));
        let answer = match (asked, &known.discovered) {
            (Ok(discovered), _) => {
                let discovered = Arc::new(discovered);
                known.discovered = Some(Arc::clone(&discovered));
                Ok(discovered)
            }
            // What was known goes on: its keys are asked for by themselves.
            (Err(e), Some(stale)) => {
                tracing::warn!(error = %e, "an issuer does not say where to sign in");
                Ok(Arc::clone(stale))
            }
            (Err(e), None) => Err(e),
        };
        drop((known, turn));
        answer
    }

    fn stale(&self) -> Option<Arc<Discovered>> {
        self.known.lock().discovered.clone()
    }

    /// What the issuer said, or that it did not answer, unless it is time to ask again.
    fn remembered(&self) -> Option<Result<Arc<Discovered>, OidcError>> {
        let known = self.known.lock();
        let (at, answered) = known.asked?;
        let again = if answered { REFETCH_TIME_MAX } else { REFETCH_TIME_MIN };
        let silent = FetchError::Unreachable("it did not answer a moment ago");
        let fresh = at.elapsed() < again;
        fresh.then(|| known.discovered.clone().ok_or(OidcError::Fetch(silent)))
    }

    fn ask(&self) -> Result<Discovered, OidcError> {
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
        Ok(Discovered {
            authorization: authorization.to_owned(),
            token: token.to_owned(),
            keys: Keys::new(Place::Url(keys.to_owned(), self.fetch.clone())),
        })
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
        let name = name.iter().find_map(|n| text(&claims, n)).unwrap_or(&subject);
        let name = name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned();
        let claims = meant(&self.rules, &claims);
        let (oidc, issuer) = (self.rules.id.clone(), self.rules.issuer.clone());
        Ok(Person::Issuer { oidc, issuer, subject, name, claims })
    }
}

/// Those of the claims, and their values, that some grant names.
fn meant(rules: &Oidc, claims: &Claims) -> Vec<(String, String)> {
    let mut meant = BTreeSet::new();
    for grant in &rules.grants {
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
            meant.insert((grant.claim.clone(), grant.value.clone()));
        }
    }
    meant.into_iter().collect()
}

/// What claims are worth now.
pub(crate) fn grants(rules: &Oidc, claims: &[(String, String)]) -> Vec<Grant> {
    let has = |grant: &&OidcGrant| {
        claims.iter().any(|(claim, value)| *claim == grant.claim && *value == grant.value)
    };
    let grants = rules.grants.iter().filter(has);
    grants.map(|g| Grant { site: g.site.clone(), roles: g.roles.clone() }).collect()
}
