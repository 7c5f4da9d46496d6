//! The variables of the environment: one for each setting.

/// A setting, and how its variable is read.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file.
    pub path: &'static str,
    /// Whether the variable holds the text itself; else it holds a value as TOML writes it.
    pub text: bool,
}

const fn text(path: &'static str) -> Setting {
    Setting { path, text: true }
}

const fn value(path: &'static str) -> Setting {
    Setting { path, text: false }
}

/// All settings. Lists of tables, as `users`, are written in TOML: `[{name = "a", grants = []}]`.
pub const SETTINGS: &[Setting] = &[
    text("state"),
    text("public_url"),
    value("refresh_seconds"),
    value("session_hours"),
    value("stop_seconds"),
    value("listen.https"),
    value("listen.http"),
    text("listen.metrics"),
    text("tls.certificate"),
    text("tls.key"),
    value("tls.hosts"),
    value("tls.reload_seconds"),
    value("proxy.trusted"),
    value("limits.connections"),
    value("limits.connections_per_address"),
    value("limits.requests"),
    value("limits.replay_mib"),
    value("limits.request_seconds"),
    value("limits.idle_seconds"),
    value("limits.stall_seconds"),
    value("limits.bytes_per_second_min"),
    value("limits.address_per_second"),
    value("limits.address_burst"),
    value("limits.caller_per_second"),
    value("limits.caller_burst"),
    text("metrics.token_file"),
    value("scrub.mib_per_second"),
    value("scrub.pause_seconds"),
    value("status.backup_hours_max"),
    value("status.retention_days_max"),
    value("users"),
    value("jwt"),
    value("oidc"),
    value("sites"),
];

impl Setting {
    /// The name of the variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("REELVAULT_SERVE_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// Puts the variable's value into a configuration.
    pub(super) fn put(&self, table: &mut toml::Table, given: &str) -> Result<(), String> {
        let value = if self.text {
            toml::Value::String(given.to_owned())
        } else {
            let parsed: toml::Table =
                toml::from_str(&format!("value = {given}")).map_err(|e| e.message().to_owned())?;
            match parsed.into_iter().next() {
                Some((name, value)) if name == "value" => value,
                _ => return Err("not a value".to_owned()),
            }
        };
        match self.path.split_once('.') {
            None => drop(table.insert(self.path.to_owned(), value)),
            Some((section, name)) => {
                let empty = || toml::Value::Table(toml::Table::new());
                let section = table.entry(section).or_insert_with(empty);
                let section = section.as_table_mut().ok_or("the section is no table")?;
                section.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }
}
