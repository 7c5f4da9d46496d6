//! The service as a process of its own, and somebody who is signed in.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{TlsConfig, TlsProvider};

use crate::{BenchError, Place, Result, machine};

/// One answer may take this long.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// Limits that would be met by one machine that plays very many viewers.
const RAISED: [(&str, &str); 6] = [
    ("REELVAULT_SERVE_LIMITS_CONNECTIONS_PER_ADDRESS", "1024"),
    ("REELVAULT_SERVE_LIMITS_ADDRESS_PER_SECOND", "1000000"),
    ("REELVAULT_SERVE_LIMITS_ADDRESS_BURST", "1000000"),
    ("REELVAULT_SERVE_LIMITS_CALLER_PER_SECOND", "1000000"),
    ("REELVAULT_SERVE_LIMITS_CALLER_BURST", "1000000"),
    ("REELVAULT_SERVE_SCRUB_MIB_PER_SECOND", "0"),
];

/// `reelvault serve` over the store of a place, or over a repository.
pub(super) struct Service {
    child: Child,
    port: u16,
    token: String,
    folder: std::path::PathBuf,
}

fn failed(e: std::io::Error) -> BenchError {
    BenchError::Io("this program".into(), e)
}

fn command(place: &Place) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("--store").arg(place.0.join("store"));
    command.arg("--keyring").arg(place.0.join("keyring"));
    command.arg("--key-file").arg(place.0.join("key")).arg("--json");
    Ok(command)
}

impl Service {
    pub(super) fn start(place: &Place, repository: Option<&Path>) -> Result<Self> {
        let folder = place.0.join("service");
        let _ = std::fs::remove_dir_all(&folder);
        let config = folder.join("serve.toml");
        let mut init = command(place)?;
        init.args(["serve", "init", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
        let made = init.stderr(Stdio::null()).output().map_err(failed)?;
        let made = json(&made.stdout)?;
        let link = made["link"].as_str().and_then(|link| link.split_once("#link="));
        let (_, token) = link.ok_or(BenchError::Child("serve init"))?;
        let mut serve = command(place)?;
        serve.args(["serve", "--config"]).arg(&config);
        if let Some(repository) = repository {
            serve.arg("--repo").arg(repository);
        }
        serve.envs(RAISED).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = serve.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let told = json(line.as_bytes());
        let port = told.ok().and_then(|told| {
            told["https"][0].as_str()?.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
        });
        let service = Self { child, port: port.unwrap_or(0), token: token.to_owned(), folder };
        if service.port == 0 { Err(BenchError::Child("serve")) } else { Ok(service) }
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The folder with the certificate.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn peak_kib(&self) -> u64 {
        machine::status_kib_of(self.child.id(), "VmHWM")
    }

    /// Signs in by the first link, which works once.
    pub(super) fn sign_in(&self) -> Result<Client> {
        let mut client = Client { agent: agent(), url: self.url(), cookie: String::new() };
        let url = format!("{}/auth/link", self.url());
        let body = format!("{{\"token\":\"{}\"}}", self.token);
        let answer = client.agent.post(&url).header("x-reelvault", "1");
        let answer = answer.header("origin", self.url()).content_type("application/json");
        let answer = answer.send(body).map_err(|_| BenchError::Child("signing in"))?;
        let cookie = answer.headers().get("set-cookie").and_then(|c| c.to_str().ok());
        let cookie = cookie.and_then(|c| c.split(';').next());
        client.cookie = cookie.ok_or(BenchError::Child("signing in"))?.to_owned();
        Ok(client)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json(bytes: &[u8]) -> Result<serde_json::Value> {
    serde_json::from_slice(bytes).map_err(|_| BenchError::Child("serve"))
}

/// Somebody who is signed in, over connections that are kept.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    cookie: String,
}

/// The certificate is one that nobody knows, made by the service that is measured.
fn agent() -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(true)
        .build();
    let config = ureq::Agent::config_builder();
    config.tls_config(tls).timeout_global(Some(ANSWER_TIME_MAX)).build().into()
}

impl Client {
    /// The same person over a connection of its own.
    pub(super) fn fresh(&self) -> Self {
        Self { agent: agent(), url: self.url.clone(), cookie: self.cookie.clone() }
    }

    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// What is answered, as it is stored.
    pub(super) fn get(&self, path: &str) -> Result<impl Read + use<>> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = request.header("cookie", &self.cookie).header("accept-encoding", "zstd");
        let answer = request.call().map_err(|_| BenchError::Child("asking the service"))?;
        Ok(answer.into_body().into_reader())
    }
}
