//! A client that says exactly what it is told to, over real TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) at: SocketAddr,
    pub(crate) name: String,
    pub(crate) host: String,
    config: Arc<ClientConfig>,
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as it should.
    pub(crate) whole: bool,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        let short: String = text.chars().take(600).collect();
        write!(f, "{} {:?} {short}", self.status, self.headers)
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// What must be the same for everything that is not there: all but the ids and the time.
    pub(crate) fn anonymous(&self) -> (u16, Vec<(String, String)>, String) {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
        let id = self.header("x-request-id").unwrap_or("-");
        (self.status, headers, self.text().replace(id, "ID"))
    }
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

fn config(root: &Path, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(root).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    builder
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

impl Client {
    pub(crate) fn new(at: SocketAddr, name: &str, root: &Path) -> Self {
        let config = config(root, &[&rustls::version::TLS13, &rustls::version::TLS12]);
        Self {
            at,
            name: name.into(),
            host: format!("{name}:{}", at.port()),
            config: Arc::new(config),
            headers: Vec::new(),
        }
    }

    /// The same that speaks TLS 1.2 at most.
    pub(crate) fn old(mut self, root: &Path) -> Self {
        self.config = Arc::new(config(root, &[&rustls::version::TLS12]));
        self
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(n, _)| n != name);
        client.headers.push((name.into(), value.into()));
        client
    }

    pub(crate) fn host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    pub(crate) fn connect(&self) -> std::io::Result<Tls> {
        let stream = TcpStream::connect_timeout(&self.at, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.config), name);
        let mut tls = StreamOwned::new(connection.unwrap(), stream);
        tls.conn.complete_io(&mut tls.sock)?;
        Ok(tls)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, Some(body))
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            if !self.headers.iter().any(|(n, _)| n == "content-type") {
                head += "content-type: application/json\r\n";
            }
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "connection: close\r\n\r\n";
        let raw = [head.as_bytes(), body.unwrap_or_default().as_bytes()].concat();
        self.raw(&raw).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// Sends bytes, and reads one answer; `None` if there is none.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut tls = self.connect().ok()?;
        // The service may answer and close before it has taken everything.
        let _ = tls.write_all(bytes);
        read_reply(&mut tls, bytes.starts_with(b"HEAD"))
    }
}

fn read_some(tls: &mut impl Read, all: &mut Vec<u8>) -> bool {
    let mut some = [0; 16 << 10];
    match tls.read(&mut some) {
        Ok(0) => false,
        Ok(n) => {
            all.extend_from_slice(&some[..n]);
            true
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => true,
        Err(_) => false,
    }
}

/// Reads one answer.
pub(crate) fn read_reply(tls: &mut impl Read, head_only: bool) -> Option<Reply> {
    let mut all = Vec::new();
    let end = loop {
        if let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if !read_some(tls, &mut all) {
            return None;
        }
    };
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let mut rest = all.split_off(end + 4);
    let mut reply = Reply { status, headers, body: Vec::new(), whole: true };
    if head_only || matches!(status, 204 | 304) {
        return Some(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.whole = false;
        loop {
            let line = loop {
                if let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
                    break at;
                }
                if !read_some(tls, &mut rest) {
                    return Some(reply);
                }
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            while rest.len() < line + 2 + size + 2 {
                if !read_some(tls, &mut rest) {
                    return Some(reply);
                }
            }
            reply.body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest.drain(..line + 2 + size + 2);
            if size == 0 {
                reply.whole = true;
                return Some(reply);
            }
        }
    }
    let length = reply.header("content-length").and_then(|v| v.parse::<usize>().ok());
    while length.is_none_or(|n| rest.len() < n) && read_some(tls, &mut rest) {}
    reply.whole = length.is_none_or(|n| rest.len() == n);
    reply.body = rest;
    Some(reply)
}
