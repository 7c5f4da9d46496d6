//! Certificates by host name, read again when their files change.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use reelvault::SiteId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Config;

use super::Host;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificate {} with the key {}: {what}", .certificate.display(), .key.display())]
pub struct CertificateError {
    certificate: PathBuf,
    key: PathBuf,
    what: String,
}

/// Files of a certificate, and the certificate as it was when they last changed.
struct Kept {
    certificate: PathBuf,
    key: PathBuf,
    changed: Stamp,
    certified: Arc<CertifiedKey>,
}

type Stamp = [Option<(SystemTime, u64)>; 2];

/// All certificates of the service.
pub(crate) struct Certificates {
    own: RwLock<Kept>,
    hosts: Vec<String>,
    sites: HashMap<String, (SiteId, RwLock<Kept>)>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("sites", &self.sites.len()).finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

impl Kept {
    fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let wrong = |what: String| CertificateError {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            what,
        };
        // Looked at first: a change while they are read is seen the next time.
        let changed = [stamp(certificate), stamp(key)];
        let chain: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(certificate) {
            Ok(chain) => chain.collect(),
            Err(e) => Err(e),
        };
        let chain = chain.map_err(|e| wrong(format!("{e:?}")))?;
        // What is wrong with a key file is not repeated: it could quote the key.
        let private = PrivateKeyDer::from_pem_file(key);
        let private = private.map_err(|_| wrong("the key cannot be read".into()))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, private, &provider);
        let certified = certified.map_err(|e| wrong(e.to_string()))?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            changed,
            certified: Arc::new(certified),
        })
    }
}

impl Certificates {
    pub(crate) fn load(config: &Config) -> Result<Self, CertificateError> {
        let none = PathBuf::new();
        let own = &config.tls;
        let certificate = own.certificate.as_ref().unwrap_or(&none);
        let own_kept = Kept::load(certificate, own.key.as_ref().unwrap_or(&none))?;
        let mut sites = HashMap::new();
        for site in &config.sites {
            for domain in &site.domains {
                let kept = Kept::load(&domain.certificate, &domain.key)?;
                sites.insert(domain.host.clone(), (site.id.clone(), RwLock::new(kept)));
            }
        }
        Ok(Self { own: RwLock::new(own_kept), hosts: own.hosts.clone(), sites })
    }

    /// Reads what has changed. What cannot be read stays as it was, and is told.
    pub(crate) fn reload(&self) {
        for kept in std::iter::once(&self.own).chain(self.sites.values().map(|(_, kept)| kept)) {
            let Ok(read) = kept.read() else { continue };
            if read.changed == [stamp(&read.certificate), stamp(&read.key)] {
                continue;
            }
            let loaded = Kept::load(&read.certificate, &read.key);
            drop(read);
            match loaded {
                Ok(new) => {
                    tracing::info!(file = %new.certificate.display(), "certificate read again");
                    if let Ok(mut kept) = kept.write() {
                        *kept = new;
                    }
                }
                Err(e) => tracing::warn!(error = %e, "a changed certificate cannot be used"),
            }
        }
    }

    /// Of whom a host name is; `None` if of nobody here. Names and addresses are all the service's own as long as no site
    /// has a domain and the service no name.
    pub(crate) fn host(&self, name: &str) -> Option<Host> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some((site, _)) = self.sites.get(&name) {
            return Some(Host::Site(site.clone()));
        }
        let own = self.hosts.contains(&name) || (self.sites.is_empty() && self.is_open(&name));
        own.then_some(Host::Service)
    }

    /// Without domains of sites, the service also answers to its addresses, and to any name if it was given none.
    fn is_open(&self, name: &str) -> bool {
        self.hosts.is_empty() || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
    }

    /// The certificate for a handshake.
    fn certified(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let kept = match sni {
            // Without a name there is nothing to tell sites apart by.
            None if self.sites.is_empty() => &self.own,
            None => return None,
            Some(name) => match self.host(name)? {
                Host::Service => &self.own,
                Host::Site(_) => &self.sites.get(&name.to_ascii_lowercase())?.1,
            },
        };
        kept.read().ok().map(|kept| Arc::clone(&kept.certified))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified(hello.server_name())
    }
}
