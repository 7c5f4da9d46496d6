//! Who may do what at which site.

use std::fmt;
use std::str::FromStr;

use reelvault::SiteId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller may do at a site. No role contains another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// List and watch.
    Viewer,
    /// Take copies away.
    Exporter,
    /// Erase, hold, release.
    Admin,
    /// Read the audit log.
    Auditor,
}

/// All roles.
pub const ROLES: [Role; 4] = [Role::Viewer, Role::Exporter, Role::Admin, Role::Auditor];

/// A site, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Scope {
    /// All sites.
    Any,
    /// One site.
    One(SiteId),
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Any => "*".into(),
            Scope::One(id) => id.to_string(),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = reelvault::InputError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "*" { Ok(Self::Any) } else { SiteId::new(text).map(Self::One) }
    }
}

impl Scope {
    /// Whether the site is among them.
    #[must_use]
    pub fn has(&self, site: &SiteId) -> bool {
        match self {
            Self::Any => true,
            Self::One(id) => id == site,
        }
    }
}

/// Roles at a site or at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) site: Scope,
    pub(crate) roles: Vec<Role>,
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// By the cookie: a browser, which others could make send requests.
    Cookie,
    /// By a token, which no browser sends by itself.
    Bearer,
}

/// Whoever makes a request, known.
#[derive(Clone)]
pub(crate) struct Caller {
    /// For the audit log and for counting: `user:anna`, `oidc:google:1234`, `jwt:issuer:subject`.
    pub(crate) who: String,
    /// For people.
    pub(crate) name: String,
    pub(crate) grants: Vec<Grant>,
    pub(crate) expires_ms: u64,
    pub(crate) via: Via,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("via", &self.via).finish_non_exhaustive()
    }
}

impl Caller {
    /// The roles at a site, in order.
    pub(crate) fn roles(&self, site: &SiteId) -> Vec<Role> {
        let at = self.grants.iter().filter(|g| g.site.has(site));
        let mut roles: Vec<Role> = at.flat_map(|g| g.roles.iter().copied()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        ROLES.into_iter().find(|role| role.name() == s).ok_or(())
    }
}

impl Role {
    /// The name in tokens and configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Exporter => "exporter",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}
