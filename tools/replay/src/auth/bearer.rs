//! Bearer tokens: JWTs of configured issuers, each for one site.

use reelvault::SiteId;

use crate::access::{Caller, Grant, Role, Scope, Via};
use crate::config::Issuer;
use crate::limits::TOKEN_BYTES_MAX;

use super::fetch::{Fetch, FetchError};
use super::jwks::{Keys, NotValid, Place};
use super::{Claims, text};

/// An issuer with its keys.
pub(crate) struct Bearer {
    rules: Issuer,
    keys: Keys,
}

impl Bearer {
    pub(crate) fn new(rules: &Issuer) -> Result<Self, FetchError> {
        let place = match (&rules.jwks_file, &rules.jwks_url) {
            (Some(path), _) => Place::File(path.clone()),
            (None, Some(url)) => Place::Url(url.clone(), Fetch::new(rules.ca_file.as_deref())?),
            (None, None) => return Err(FetchError::NotHttps),
        };
        Ok(Self { rules: rules.clone(), keys: Keys::new(place) })
    }
}

/// Whom a token speaks for. It may block: an issuer's keys are fetched when they are needed.
pub(crate) fn check(issuers: &[Bearer], token: &str) -> Result<Caller, NotValid> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(NotValid);
    }
    // What an unchecked token says of its issuer decides only whose keys check it.
    let claimed: Claims =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| NotValid)?;
    let issuer = text(&claimed, "iss").ok_or(NotValid)?.to_owned();
    let mut of_issuer = issuers.iter().filter(|b| b.rules.issuer == issuer);
    of_issuer.find_map(|bearer| bearer.caller(token).ok()).ok_or(NotValid)
}

impl Bearer {
    fn caller(&self, token: &str) -> Result<Caller, NotValid> {
        let rules = &self.rules;
        let claims = self.keys.check(token, &rules.issuer, &rules.audience)?;
        // One site, as a text: a token that names none, or many, is for nothing here.
        let site = text(&claims, &rules.site_claim).ok_or(NotValid)?;
        let site = SiteId::new(site).map_err(|_| NotValid)?;
        if !rules.sites.iter().any(|scope| scope.has(&site)) {
            return Err(NotValid);
        }
        let roles = claims.get(&rules.roles_claim).and_then(serde_json::Value::as_array);
        let roles: Vec<Role> =
            roles.into_iter().flatten().filter_map(|role| role.as_str()?.parse().ok()).collect();
        let subject = text(&claims, "sub").unwrap_or("-");
        let seconds = claims.get("exp").and_then(serde_json::Value::as_f64).ok_or(NotValid)?;
        Ok(Caller {
            who: format!("jwt:{}:{subject}", rules.issuer),
            name: text(&claims, "name").unwrap_or(subject).to_owned(),
            grants: vec![Grant { site: Scope::One(site), roles }],
            expires_ms: (seconds * 1000.0) as u64,
            via: Via::Bearer,
        })
    }
}
