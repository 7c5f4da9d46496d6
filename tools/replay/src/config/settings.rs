//! What can be set, with its defaults and the checks that a type alone cannot make.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use reelvault::SiteId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::access::{Role, Scope};

use super::ConfigError;

/// Bits of an IPv6 address before the IPv4 address that it stands for.
const MAPPED_BITS: u8 = 96;

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the service keeps its own small files: audit log, incidents, sign-in links.
    pub state: PathBuf,
    /// The address under which people reach the service; without it, that of the first listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// How often the store is looked at for what is new.
    #[serde(default = "five")]
    pub refresh_seconds: u32,
    /// How long a person stays signed in.
    #[serde(default = "twelve")]
    pub session_hours: u32,
    /// How long open replays may go on when the service stops.
    #[serde(default = "ten")]
    pub stop_seconds: u32,
    /// Where to listen.
    #[serde(default)]
    pub listen: Listen,
    /// The certificate of the service's own host names.
    #[serde(default)]
    pub tls: Tls,
    /// Who may say for whom a request is made.
    #[serde(default)]
    pub proxy: Proxy,
    /// What a client may use.
    #[serde(default)]
    pub limits: Limits,
    /// Who may read the metrics on the public listener.
    #[serde(default)]
    pub metrics: Metrics,
    /// The integrity scrub.
    #[serde(default)]
    pub scrub: Scrub,
    /// From when on something counts as late.
    #[serde(default)]
    pub status: Status,
    /// Local users.
    #[serde(default)]
    pub users: Vec<User>,
    /// Issuers of bearer tokens.
    #[serde(default)]
    pub jwt: Vec<Issuer>,
    /// Issuers at which people sign in.
    #[serde(default)]
    pub oidc: Vec<Oidc>,
    /// Rules of single sites.
    #[serde(default)]
    pub sites: Vec<SiteRules>,
}

/// Where to listen.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Addresses with TLS.
    pub https: Vec<SocketAddr>,
    /// Addresses whose plain HTTP only redirects.
    pub http: Vec<SocketAddr>,
    /// An address of this machine alone, where metrics are read without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

/// The certificate of the service's own host names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The names it stands for. Needed as soon as a site has a domain of its own.
    pub hosts: Vec<String>,
    /// How often files of certificates are looked at for a change.
    pub reload_seconds: u32,
}

/// Proxies before the service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// Addresses whose `X-Forwarded-For` is believed. The bytes must still come under TLS.
    pub trusted: Vec<IpNet>,
}

/// What a client may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Connections of one address at a time.
    pub connections_per_address: u32,
    /// Requests that are worked on at a time. One address has at most a quarter of them, but 64 in any case.
    pub requests: u32,
    /// Memory in MiB for what is on its way in replays and exports.
    pub replay_mib: u32,
    /// Time until a request has been answered, or its replay has begun.
    pub request_seconds: u32,
    /// A connection on which nothing moves is closed after this time.
    pub idle_seconds: u32,
    /// A client that takes nothing for this time is cut off.
    pub stall_seconds: u32,
    /// So is one that takes less than this.
    pub bytes_per_second_min: u32,
    /// Requests a second of one address, and at once.
    pub address_per_second: u32,
    /// Requests of one address at once.
    pub address_burst: u32,
    /// Requests a second of one signed-in caller.
    pub caller_per_second: u32,
    /// Requests of one signed-in caller at once.
    pub caller_burst: u32,
}

/// Who may read the metrics on the public listener.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// A file with a token; without it, metrics are not on the public listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// The integrity scrub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// MiB a second, on average; 0 turns it off, but for files known to be damaged: whether they were mended is looked at all the same.
    pub mib_per_second: u32,
    /// Rest between one look at all segments and the next.
    pub pause_seconds: u32,
}

/// From when on something counts as late.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// Hours since the last backup.
    pub backup_hours_max: u32,
    /// Days since a segment should have been dropped.
    pub retention_days_max: u32,
}

/// A local user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// The Argon2id hash of the password, as `reelvault serve password` prints it. Without it, the user signs in by links alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the user may do.
    pub grants: Vec<UserGrant>,
}

// A hash is not for a log either.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({})", self.name)
    }
}

/// Roles at a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserGrant {
    /// The site, or `*` for all.
    pub site: Scope,
    /// The roles.
    pub roles: Vec<Role>,
}

/// An issuer of bearer tokens. A token names its one site in a claim, and its roles in another.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What stands in `iss`.
    pub issuer: String,
    /// What must stand in `aud`.
    pub audience: String,
    /// The sites that it may speak for.
    pub sites: Vec<Scope>,
    /// Its key set as a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Its key set as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// Certificates to trust at that address, PEM; the web's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The claim with the site.
    #[serde(default = "site_claim")]
    pub site_claim: String,
    /// The claim with the list of roles.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
}

/// An issuer at which people sign in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// Its name in addresses.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its address, below which its configuration is found.
    pub issuer: String,
    /// The service's id there.
    pub client_id: String,
    /// A file with the service's secret there; public clients have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// Certificates to trust there, PEM; the web's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What is asked for.
    #[serde(default = "oidc_scopes")]
    pub scopes: String,
    /// Who may do what.
    #[serde(default)]
    pub grants: Vec<OidcGrant>,
}

/// Roles at a site for those whose token has a claim of this value, or a list with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcGrant {
    /// The claim: `email` (only if verified), `sub`, `hd`, `groups`, or another.
    pub claim: String,
    /// Its value.
    pub value: String,
    /// The site, or `*` for all.
    pub site: Scope,
    /// The roles.
    pub roles: Vec<Role>,
}

/// Rules of a site.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRules {
    /// The site.
    #[serde(deserialize_with = "site_id", serialize_with = "site_text")]
    pub id: SiteId,
    /// From where it may be used; from everywhere if empty.
    #[serde(default)]
    pub allow: Vec<IpNet>,
    /// Host names of its own.
    #[serde(default)]
    pub domains: Vec<Domain>,
}

/// A host name that belongs to one site, with its certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The name.
    pub host: String,
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

fn five() -> u32 {
    5
}
fn ten() -> u32 {
    10
}
fn twelve() -> u32 {
    12
}
fn site_claim() -> String {
    "site".into()
}
fn roles_claim() -> String {
    "roles".into()
}
fn oidc_scopes() -> String {
    "openid email profile".into()
}

fn site_id<'de, D: Deserializer<'de>>(from: D) -> Result<SiteId, D::Error> {
    SiteId::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn site_text<S: Serializer>(id: &SiteId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(id.as_str())
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            https: vec![SocketAddr::from(([127, 0, 0, 1], 8443))],
            http: Vec::new(),
            metrics: None,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, hosts: Vec::new(), reload_seconds: 10 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2_048,
            connections_per_address: 256,
            requests: 1_024,
            replay_mib: 20,
            request_seconds: 30,
            idle_seconds: 75,
            stall_seconds: 20,
            bytes_per_second_min: 1_024,
            address_per_second: 100,
            address_burst: 400,
            caller_per_second: 100,
            caller_burst: 400,
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self { mib_per_second: 20, pause_seconds: 3_600 }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self { backup_hours_max: 26, retention_days_max: 1 }
    }
}

impl Config {
    /// What the types alone do not say.
    pub(super) fn check(&self, place: &str) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::new(place, what));
        if self.listen.https.is_empty() {
            return wrong("listen.https is empty: nobody could reach the service".into());
        }
        if self.tls.certificate.is_none() || self.tls.key.is_none() {
            return wrong("tls.certificate and tls.key are needed; `serve init` makes them".into());
        }
        if self.listen.metrics.is_some_and(|at| !at.ip().is_loopback()) {
            return wrong("listen.metrics is without TLS, and must be a loopback address".into());
        }
        let zero = |n: u32| n == 0;
        let l = &self.limits;
        let numbers = [
            (l.connections, "limits.connections"),
            (l.connections_per_address, "limits.connections_per_address"),
            (l.requests, "limits.requests"),
            (l.replay_mib, "limits.replay_mib"),
            (l.request_seconds, "limits.request_seconds"),
            (l.idle_seconds, "limits.idle_seconds"),
            (l.stall_seconds, "limits.stall_seconds"),
            (l.address_per_second, "limits.address_per_second"),
            (l.address_burst, "limits.address_burst"),
            (l.caller_per_second, "limits.caller_per_second"),
            (l.caller_burst, "limits.caller_burst"),
            (self.refresh_seconds, "refresh_seconds"),
            (self.session_hours, "session_hours"),
            (self.tls.reload_seconds, "tls.reload_seconds"),
        ];
        if let Some((_, name)) = numbers.iter().find(|(n, _)| zero(*n)) {
            return wrong(format!("{name} must be at least 1"));
        }
        self.check_networks(place)?;
        self.check_names(place)?;
        self.check_issuers(place)
    }

    /// Addresses are compared as IPv4 wherever they are that, so a network of such in IPv6 would hold nobody.
    fn check_networks(&self, place: &str) -> Result<(), ConfigError> {
        let allowed = self.sites.iter().flat_map(|site| &site.allow);
        for net in self.proxy.trusted.iter().chain(allowed) {
            let IpNet::V6(v6) = net else { continue };
            let bits = v6.prefix_len().checked_sub(MAPPED_BITS);
            if let (Some(v4), Some(bits)) = (v6.network().to_ipv4_mapped(), bits) {
                let what = format!("the network {net} matches no address: write {v4}/{bits}");
                return Err(ConfigError::new(place, what));
            }
        }
        Ok(())
    }

    fn check_names(&self, place: &str) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::new(place, what));
        let mut sites = HashSet::new();
        if let Some(site) = self.sites.iter().find(|s| !sites.insert(&s.id)) {
            return wrong(format!("the site {} stands there twice", site.id));
        }
        let mut hosts: HashSet<String> = HashSet::new();
        let domains = self.sites.iter().flat_map(|s| &s.domains).map(|d| &d.host);
        for host in self.tls.hosts.iter().chain(domains) {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            if host.is_empty() || !host.bytes().all(plain) {
                return wrong(format!("{host:?} is no host name in small letters"));
            }
            if !hosts.insert(host.clone()) {
                return wrong(format!("the host {host} stands there twice"));
            }
        }
        let mut users = HashSet::new();
        for user in &self.users {
            if user.name.is_empty() || user.name.len() > 128 || !users.insert(&user.name) {
                return wrong("users need names of 1 to 128 bytes, each its own".into());
            }
            let hash = user.password.as_deref();
            if hash.is_some_and(|hash| !crate::auth::local::is_hash(hash)) {
                return wrong(format!(
                    "the password of {} is no Argon2id hash; `reelvault serve password` makes one",
                    user.name
                ));
            }
        }
        Ok(())
    }

    fn check_issuers(&self, place: &str) -> Result<(), ConfigError> {
        let wrong = |what: String| Err(ConfigError::new(place, what));
        let mut ids = HashSet::new();
        for oidc in &self.oidc {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            if oidc.id.is_empty() || !oidc.id.bytes().all(plain) || !ids.insert(&oidc.id) {
                return wrong("oidc ids are of A-Z a-z 0-9 - _, each its own".into());
            }
            if !crate::auth::fetch::is_allowed(&oidc.issuer) {
                return wrong(format!("the issuer {} must be https", oidc.issuer));
            }
        }
        for issuer in &self.jwt {
            if issuer.jwks_file.is_some() == issuer.jwks_url.is_some() {
                return wrong("an issuer of tokens needs one of jwks_file and jwks_url".into());
            }
            let url = issuer.jwks_url.as_deref();
            if url.is_some_and(|url| !crate::auth::fetch::is_allowed(url)) {
                return wrong("jwks_url must be https".into());
            }
        }
        Ok(())
    }

    /// The address under which people reach the service, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> String {
        if let Some(url) = &self.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let port = self.listen.https.first().map_or(443, SocketAddr::port);
        let host = self.tls.hosts.first().map_or("localhost", String::as_str);
        if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") }
    }
}
