//! Asking issuers: key sets, discovery documents, codes for tokens. Everything here blocks.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::limits::{FETCH_BYTES_MAX, FETCH_TIME_MAX};

/// Why an issuer could not be asked. Never with a token in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the address is not https")]
    NotHttps,
    #[error("the certificates in {0} cannot be read")]
    Certificates(String),
    #[error("the issuer answered with status {0}")]
    Status(u16),
    #[error("the issuer could not be reached: {0}")]
    Unreachable(&'static str),
    #[error("the issuer's answer is no JSON of the kind expected")]
    Malformed,
}

/// Whether an issuer may be asked at this address: by TLS, or on this machine itself.
pub(crate) fn is_allowed(url: &str) -> bool {
    if url.starts_with("https://") {
        return true;
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]") && !host.contains('@')
}

/// Asks one issuer.
#[derive(Clone)]
pub(crate) struct Fetch {
    agent: ureq::Agent,
}

impl Fetch {
    pub(crate) fn new(ca_file: Option<&Path>) -> Result<Self, FetchError> {
        let roots = match ca_file {
            None => RootCerts::WebPki,
            Some(path) => {
                let wrong = || FetchError::Certificates(path.display().to_string());
                let pem = std::fs::read(path).map_err(|_| wrong())?;
                let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
                let found = found.map_err(|_| wrong())?;
                let owned = found.iter().map(|c| Certificate::from_der(c).to_owned());
                RootCerts::Specific(Arc::new(owned.collect()))
            }
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(FETCH_TIME_MAX))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { agent })
    }

    /// Gets a JSON document.
    pub(crate) fn get(&self, url: &str) -> Result<serde_json::Value, FetchError> {
        check(url)?;
        let answer = self.agent.get(url).header("accept", "application/json").call();
        json(answer)
    }

    /// Sends a form, and gets a JSON document.
    pub(crate) fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<serde_json::Value, FetchError> {
        check(url)?;
        let request = self.agent.post(url).header("accept", "application/json");
        let body: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", crate::text::escape(value)))
            .collect();
        let request = request.content_type("application/x-www-form-urlencoded");
        json(request.send(body.join("&")))
    }
}

fn check(url: &str) -> Result<(), FetchError> {
    if is_allowed(url) { Ok(()) } else { Err(FetchError::NotHttps) }
}

fn json(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<serde_json::Value, FetchError> {
    let mut answer = answer.map_err(|e| match e {
        ureq::Error::StatusCode(code) => FetchError::Status(code),
        ureq::Error::Timeout(_) => FetchError::Unreachable("it took too long"),
        ureq::Error::HostNotFound => FetchError::Unreachable("its name is not known"),
        ureq::Error::Io(_) | ureq::Error::ConnectionFailed => {
            FetchError::Unreachable("the connection failed")
        }
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
            FetchError::Unreachable("its certificate is not trusted")
        }
        _ => FetchError::Unreachable("the exchange failed"),
    })?;
    if answer.status().as_u16() != 200 {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let body = answer.body_mut().with_config().limit(FETCH_BYTES_MAX).read_to_vec();
    let body = body.map_err(|_| FetchError::Unreachable("its answer broke off or is too long"))?;
    serde_json::from_slice(&body).map_err(|_| FetchError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_asked_by_tls_or_on_this_machine() {
        for url in
            ["https://a.example/x", "http://127.0.0.1:80/x", "http://localhost", "http://[::1]:9/"]
        {
            assert!(is_allowed(url), "{url}");
        }
        for url in [
            "http://a.example",
            "http://127.0.0.1.example/",
            "http://localhost@a.example/",
            "http://a.example:80@localhost/",
            "ftp://localhost",
            "",
        ] {
            assert!(!is_allowed(url), "{url}");
        }
    }
}
