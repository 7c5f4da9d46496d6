//! A store of real recordings, the service over it, and a client that says exactly what it is told to.

pub(crate) mod client;
pub(crate) mod recordings;
pub(crate) mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelvault::env::Env;
use reelvault::{KeyFile, Options, SessionId, Site, SiteId, Store};
use reelvault_replay::config::Config;
use reelvault_replay::{LiveStore, Running};

use client::Client;
use recordings::{RECORDED_MS, Recorded};
use tokens::Issuer;

pub(crate) const SHOP: &str = "shop.example";
pub(crate) const HELP: &str = "help.example";
/// A site that no caller of the tests but the administrator may see.
pub(crate) const OTHER: &str = "dash.example";

/// The hash of `correct horse`, made at less than the usual cost.
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) recorded: Vec<Recorded>,
    pub(crate) issuer: Issuer,
}

impl World {
    /// A store with a few real recordings of each site, most of them archived.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("keys")).unwrap();
        KeyFile::create(&Env::real(), folder.path().join("keys/key")).unwrap();
        let issuer = Issuer::new("https://issuer.test");
        std::fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
        certificate(folder.path(), "service", &["localhost", "service.test", "127.0.0.1"]);
        let world = Self { folder, recorded: recordings::some(), issuer };
        let store = Store::create(world.options_at(RECORDED_MS)).unwrap();
        for site in [SHOP, HELP, OTHER] {
            store.add_site(SiteId::new(site).unwrap(), 3_650).unwrap();
        }
        let (early, late) = world.recorded.split_at(world.recorded.len() - 1);
        early.iter().for_each(|r| r.append_to(&store));
        store.archive().unwrap();
        late.iter().for_each(|r| r.append_to(&store));
        store.close().unwrap();
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn options(&self) -> Options {
        let key = KeyFile::open(&Env::real(), self.path().join("keys/key")).unwrap();
        let mirrors = ["a", "b"].map(|n| self.path().join(format!("keys/{n}/keyring")));
        let options = Options::new(self.path().join("store"), mirrors, Arc::new(key));
        options.shards(2).background(false)
    }

    fn options_at(&self, ms: u64) -> Options {
        self.options().env(env_at(ms))
    }

    /// The store, opened for writing at the time of the recordings.
    pub(crate) fn writer(&self) -> Store {
        Store::open(self.options_at(RECORDED_MS)).unwrap()
    }

    pub(crate) fn reader(&self) -> Store {
        Store::open_read_only(self.options()).unwrap()
    }

    pub(crate) fn site(&self, name: &str) -> Site {
        self.reader().site(&SiteId::new(name).unwrap()).unwrap()
    }

    /// The recordings of a site.
    pub(crate) fn of(&self, site: &str) -> Vec<&Recorded> {
        self.recorded.iter().filter(|r| r.site == site).collect()
    }

    /// The id of one replay of a site.
    pub(crate) fn session(&self, site: &str) -> String {
        let of = self.of(site);
        of.iter().find(|r| !r.is_chat()).unwrap().session.clone()
    }

    /// The usual configuration, with `more` at its end.
    pub(crate) fn config(&self, more: &str) -> Config {
        let text = format!(
            r#"
state = "state"
[listen]
https = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
metrics = "127.0.0.1:0"
[tls]
certificate = "service.pem"
key = "service.key"
hosts = ["localhost", "service.test"]
[scrub]
mib_per_second = 0
[[users]]
name = "admin"
grants = [{{ site = "*", roles = ["viewer", "exporter", "admin", "auditor"] }}]
[[users]]
name = "anna"
password = "{}"
grants = [{{ site = "shop.example", roles = ["viewer"] }}]
[[jwt]]
issuer = "https://issuer.test"
audience = "reelvault"
jwks_file = "jwks.json"
sites = ["shop.example", "help.example"]
{more}"#,
            password_hash()
        );
        let path = self.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).unwrap_or_else(|e| panic!("{e}"))
    }

    pub(crate) fn serve(&self) -> Service<'_> {
        // A test asks more often than a person.
        self.serve_with(
            "[limits]\naddress_per_second = 10000\naddress_burst = 10000\n\
             caller_per_second = 10000\ncaller_burst = 10000\n",
        )
    }

    pub(crate) fn serve_with(&self, more: &str) -> Service<'_> {
        let config = self.config(more);
        let again = self.options_at(RECORDED_MS);
        let write = Box::new(move || Store::open(again.clone()));
        let source = Arc::new(LiveStore::new(self.reader(), Some(write)));
        let running = reelvault_replay::start(config, Env::real(), source).unwrap();
        Service { world: self, running }
    }

    /// The files of the store, segments alone.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("store/segment")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// A service that runs.
pub(crate) struct Service<'a> {
    pub(crate) world: &'a World,
    pub(crate) running: Running,
}

impl Service<'_> {
    /// A client that trusts the service and asks for `localhost`.
    pub(crate) fn client(&self) -> Client {
        self.client_for("localhost", "service.pem")
    }

    pub(crate) fn client_for(&self, name: &str, root: &str) -> Client {
        Client::new(self.running.https()[0], name, &self.world.path().join(root))
    }

    /// A client with a token of these roles at a site.
    pub(crate) fn with_token(&self, site: &str, roles: &[&str]) -> Client {
        let token = self.world.issuer.token(site, roles);
        self.client().with("authorization", &format!("Bearer {token}"))
    }

    /// A client that is signed in as the administrator by a link, as a browser is.
    pub(crate) fn admin(&self) -> Client {
        let config = Config::load(&self.world.path().join("serve.toml")).unwrap();
        let link = reelvault_replay::make_link(&Env::real(), &config, "admin").unwrap();
        let token = link.split_once("#link=").unwrap().1.to_owned();
        self.browser(&self.client().post("/auth/link", &format!("{{\"token\":{token:?}}}")))
    }

    /// A client with the cookie of an answer.
    pub(crate) fn browser(&self, signed_in: &client::Reply) -> Client {
        assert_eq!(signed_in.status, 204, "{signed_in:?}");
        let cookie = signed_in.header("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let client = self.client().with("cookie", cookie).with("x-reelvault", "1");
        client.with("sec-fetch-site", "same-origin")
    }
}

/// The real disk and randomness with a clock that stands still.
pub(crate) fn env_at(ms: u64) -> Env {
    struct Still(u64);
    impl reelvault::env::Clock for Still {
        fn now_ms(&self) -> u64 {
            self.0
        }
        fn monotonic_ns(&self) -> u64 {
            0
        }
    }
    Env { clock: Arc::new(Still(ms)), ..Env::real() }
}

/// Makes `NAME.pem` and `NAME.key`.
pub(crate) fn certificate(folder: &Path, name: &str, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}

pub(crate) fn session_id(id: &str) -> SessionId {
    SessionId::new(id).unwrap()
}

fn password_hash() -> String {
    use argon2::password_hash::PasswordHasher;
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password_with_salt(PASSWORD.as_bytes(), b"0123456789abcdef").unwrap().to_string()
}
