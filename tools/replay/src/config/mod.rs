//! The configuration: a TOML file, every setting of which can be given as a variable of the environment instead.

mod init;
mod settings;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};

pub use init::{Init, InitError, Made, init};
pub use settings::{
    Config, Domain, Issuer, Limits, Listen, Metrics, Oidc, OidcGrant, Proxy, Scrub, SiteRules,
    Status, Tls, User, UserGrant,
};
pub use variables::{SETTINGS, Setting};

use crate::limits::CONFIG_BYTES_MAX;

/// Why a configuration cannot be used: where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or the variable of the environment.
    pub place: String,
    /// The line in the file, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), line: None, what: what.into() }
    }
}

impl Config {
    /// Reads a file and the environment, and checks what they say. Paths in the file are relative to it.
    ///
    /// # Errors
    /// What is wrong, and on which line of the file or in which variable.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let failed = |e: std::io::Error| ConfigError::new(&place, e.to_string());
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > CONFIG_BYTES_MAX {
            return Err(ConfigError::new(&place, "it is larger than 4 MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut config = Self::parse(&text, &place, |name| std::env::var(name).ok())?;
        let absolute = std::path::absolute(path).map_err(failed)?;
        config.resolve(absolute.parent().unwrap_or(Path::new("/")));
        Ok(config)
    }

    /// Reads the text of a file, called `place` in errors, and of variables.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        text: &str,
        place: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let wrong = |e: toml::de::Error| ConfigError {
            place: place.to_owned(),
            line: e.span().map(|span| 1 + text[..span.start].matches('\n').count()),
            what: e.message().to_owned(),
        };
        let mut config: Self = toml::from_str(text).map_err(wrong)?;
        let mut table: toml::Table = toml::from_str(text).map_err(wrong)?;
        for setting in SETTINGS {
            let name = setting.variable();
            let Some(value) = variable(&name).filter(|v| !v.is_empty()) else { continue };
            setting.put(&mut table, &value).map_err(|what| ConfigError::new(&name, what))?;
            config = table
                .clone()
                .try_into()
                .map_err(|e: toml::de::Error| ConfigError::new(&name, e.message()))?;
        }
        config.check(place)?;
        Ok(config)
    }

    /// Takes paths that are not absolute to be beneath `folder`.
    fn resolve(&mut self, folder: &Path) {
        let mut paths: Vec<&mut PathBuf> = vec![&mut self.state];
        paths.extend(self.tls.certificate.as_mut());
        paths.extend(self.tls.key.as_mut());
        paths.extend(self.metrics.token_file.as_mut());
        for domain in self.sites.iter_mut().flat_map(|site| &mut site.domains) {
            paths.extend([&mut domain.certificate, &mut domain.key]);
        }
        for oidc in &mut self.oidc {
            paths.extend(oidc.client_secret_file.as_mut());
            paths.extend(oidc.ca_file.as_mut());
        }
        for issuer in &mut self.jwt {
            paths.extend(issuer.jwks_file.as_mut());
            paths.extend(issuer.ca_file.as_mut());
        }
        for path in paths {
            *path = folder.join(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "state = 's'\n[tls]\ncertificate = 'c'\nkey = 'k'\n";

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, "serve.toml", |_| None)
    }

    #[test]
    fn an_error_names_its_line() {
        let text = format!("{SMALL}\n[limits]\nconnections = 'many'\n");
        let e = parse(&text).unwrap_err();
        assert_eq!(e.line, Some(7), "{e}");
        let e = parse(&format!("{SMALL}hots = ['a']\n")).unwrap_err();
        assert_eq!(e.line, Some(5), "{e}");
        assert!(e.to_string().contains("hots"), "{e}");
        let e = parse(&format!("{SMALL}[[sites]]\nid = 'a b'\n")).unwrap_err();
        assert_eq!(e.line, Some(6), "{e}");
        assert!(e.to_string().contains("site id"), "{e}");
    }

    #[test]
    fn a_variable_stands_above_the_file_and_is_named_when_it_is_wrong() {
        let with = |name: &'static str, value: &'static str| {
            Config::parse(SMALL, "f", move |n| (n == name).then(|| value.to_owned()))
        };
        let config = with("REELVAULT_SERVE_LISTEN_HTTPS", "['[::1]:9']").unwrap();
        assert_eq!(config.listen.https, ["[::1]:9".parse().unwrap()]);
        let config = with("REELVAULT_SERVE_STATE", "123").unwrap();
        assert_eq!(config.state, Path::new("123"));
        let config = with("REELVAULT_SERVE_USERS", "[{name = 'a', grants = []}]").unwrap();
        assert_eq!(config.users[0].name, "a");
        let e = with("REELVAULT_SERVE_LIMITS_CONNECTIONS", "-1").unwrap_err();
        assert_eq!(e.place, "REELVAULT_SERVE_LIMITS_CONNECTIONS");
    }

    #[test]
    fn every_setting_has_a_variable() {
        // The defaults, written out, name every setting there is.
        let all = toml::Table::try_from(parse(SMALL).unwrap()).unwrap();
        let mut named = Vec::new();
        for (name, value) in &all {
            match value {
                toml::Value::Table(inner) => {
                    named.extend(inner.keys().map(|k| format!("{name}.{k}")));
                }
                _ => named.push(name.clone()),
            }
        }
        for name in named {
            assert!(SETTINGS.iter().any(|s| s.path == name), "{name}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (more, why) in [
            ("[listen]\nmetrics = '0.0.0.0:9000'\n", "loopback"),
            ("[[sites]]\nid = 'a'\n[[sites]]\nid = 'a'\n", "twice"),
            ("[[users]]\nname = 'a'\ngrants = []\npassword = 'secret'\n", "Argon2id"),
            (
                "[[oidc]]\nid = 'x'\nname = 'X'\nissuer = 'http://example.com'\nclient_id = 'c'\n",
                "https",
            ),
            ("[proxy]\ntrusted = ['::ffff:10.0.0.0/104']\n", "10.0.0.0/8"),
            ("[[sites]]\nid = 'a'\nallow = ['::/0', '::ffff:1.2.3.4/128']\n", "1.2.3.4/32"),
            ("[[jwt]]\nissuer = 'i'\naudience = 'a'\nsites = ['*']\n", "jwks"),
        ] {
            let e = parse(&format!("{SMALL}{more}")).unwrap_err().to_string();
            assert!(e.contains(why), "{e}");
        }
    }
}
