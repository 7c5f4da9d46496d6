//! `serve init`: a commented configuration, a self-signed certificate, and a link that signs the first administrator in.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reelvault::env::Env;

use crate::auth::link;

/// What to make.
#[derive(Debug, Clone)]
pub struct Init {
    /// The configuration file.
    pub config: PathBuf,
    /// Host names of the certificate.
    pub hosts: Vec<String>,
    /// Where to listen, as it is to stand in the file.
    pub listen: std::net::SocketAddr,
}

/// What was made.
#[derive(Clone)]
pub struct Made {
    /// The configuration file.
    pub config: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// A link that signs the administrator in, once.
    pub link: String,
}

// The link is a secret until it is used.
impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why nothing, or not all of it, was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file is there already; it is not overwritten.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{doing} {}: {cause}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Its answer.
        #[source]
        cause: std::io::Error,
    },
    /// The certificate could not be made for these names.
    #[error("making the certificate: {0}")]
    Certificate(String),
    /// What was written is no configuration.
    #[error(transparent)]
    Config(#[from] super::ConfigError),
}

const TEMPLATE: &str = include_str!("serve.toml");

/// Makes the files. Nothing that is there is overwritten.
///
/// # Errors
/// [`InitError`]; files that were made before stay.
pub fn init(env: &Env, what: &Init) -> Result<Made, InitError> {
    let folder = what.config.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    if let Some(there) = [&what.config, &certificate, &key].into_iter().find(|p| p.exists()) {
        return Err(InitError::Exists(there.clone()));
    }
    std::fs::create_dir_all(folder).map_err(|e| io("making", folder, e))?;
    let failed = |e: rcgen::Error| InitError::Certificate(e.to_string());
    let pair = rcgen::KeyPair::generate().map_err(failed)?;
    let mut params = rcgen::CertificateParams::new(what.hosts.clone()).map_err(failed)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "reelvault replay service");
    let made = params.self_signed(&pair).map_err(failed)?;
    create(&key, pair.serialize_pem().as_bytes(), 0o600)?;
    create(&certificate, made.pem().as_bytes(), 0o644)?;
    let hosts: Vec<String> = what.hosts.iter().map(|h| format!("{h:?}")).collect();
    let text = TEMPLATE
        .replace("@LISTEN@", &what.listen.to_string())
        .replace("@HOSTS@", &hosts.join(", "));
    create(&what.config, text.as_bytes(), 0o600)?;
    let config = super::Config::load(&what.config)?;
    let link = link::make(env, &config, "admin").map_err(|e| io("writing to", &config.state, e))?;
    Ok(Made { config: what.config.clone(), certificate, link })
}

fn io(doing: &'static str, path: &Path, cause: std::io::Error) -> InitError {
    InitError::Io { doing, path: path.to_owned(), cause }
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InitError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => io("making", path, e),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| io("writing", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_setting_stands_in_the_file_that_is_made() {
        let fields = include_str!("settings.rs").lines().filter_map(|l| l.strip_prefix("    pub "));
        let names: Vec<&str> = fields.filter_map(|l| Some(l.split_once(": ")?.0)).collect();
        assert!(names.len() > 60, "{names:?}");
        for name in names {
            let ways = [format!("{name} = "), format!("[{name}]")];
            assert!(ways.iter().any(|way| TEMPLATE.contains(way)), "{name}");
        }
    }

    #[test]
    fn what_is_commented_out_is_right_and_names_the_defaults() {
        let is_setting = |line: &str| {
            let word = line.split_once(" = ").map_or("", |(name, _)| name);
            let named =
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            named || line.starts_with(['[', ']']) || line.starts_with("  {")
        };
        let line =
            |line: &'static str| line.strip_prefix("# ").filter(|l| is_setting(l)).unwrap_or(line);
        let text: Vec<&str> = TEMPLATE.lines().map(line).collect();
        let text = text.join("\n").replace("@LISTEN@", "127.0.0.1:1").replace("@HOSTS@", "");
        let all = Config::parse(&text, "serve.toml", |_| None).unwrap();
        assert_eq!((all.jwt.len(), all.oidc.len(), all.sites.len()), (1, 1, 1));
        assert!(all.jwt[0].ca_file.is_some() && all.oidc[0].ca_file.is_some());
        let few = "state = 's'\n[tls]\ncertificate = 'c'\nkey = 'k'\n\
                   [[jwt]]\nissuer = 'i'\naudience = 'a'\nsites = []\njwks_file = 'j'\n\
                   [[oidc]]\nid = 'x'\nname = 'X'\nissuer = 'https://x.example'\nclient_id = 'c'\n";
        let few = Config::parse(few, "serve.toml", |_| None).unwrap();
        let numbers = |c: &Config| {
            let tables =
                [format!("{:?}", c.limits), format!("{:?}", c.scrub), format!("{:?}", c.status)];
            let plain = [c.refresh_seconds, c.session_hours, c.stop_seconds, c.tls.reload_seconds];
            let claims = [&c.jwt[0].site_claim, &c.jwt[0].roles_claim, &c.oidc[0].scopes];
            (tables, plain, claims.map(String::clone))
        };
        assert_eq!(numbers(&all), numbers(&few));
    }
}
