//! Incidents: opened when a check fails and closed when it passes again, kept in a sealed log for the status page.

use std::path::Path;
use std::sync::Mutex;

use reelvault::Sealer;
use reelvault::env::Env;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::INCIDENT_DAYS;
use crate::sealed_log::{self, LogError, SealedLog};

/// For what the records are sealed.
pub(crate) const PURPOSE: &str = "replay service incidents";

/// What an incident is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IncidentKind {
    /// Stored bytes are not what was written.
    Integrity,
    /// Recordings cannot be served, or deeds not recorded.
    Availability,
    /// The last backup is too old.
    Backup,
    /// Something was not deleted in time.
    Retention,
}

pub(crate) const KINDS: [IncidentKind; 4] = [
    IncidentKind::Integrity,
    IncidentKind::Availability,
    IncidentKind::Backup,
    IncidentKind::Retention,
];

impl IncidentKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Availability => "availability",
            Self::Backup => "backup",
            Self::Retention => "retention",
        }
    }
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) kind: IncidentKind,
    pub(crate) opened_ms: u64,
    pub(crate) closed_ms: Option<u64>,
    pub(crate) summary: String,
}

/// The log of incidents, and those that are of interest.
pub(crate) struct Incidents {
    log: Mutex<Open>,
}

struct Open {
    log: SealedLog,
    /// By id, in the order in which they were opened.
    all: Vec<Incident>,
}

impl Incidents {
    /// Reads the log. An incident that was open when the service stopped is open still.
    pub(crate) fn open(env: &Env, state: &Path, sealer: Sealer) -> Result<Self, LogError> {
        let folder = state.join("incidents");
        let mut all: Vec<Incident> = Vec::new();
        sealed_log::read_all(env, &folder, &sealer, |record| {
            if let Ok(incident) = serde_json::from_slice::<Incident>(&record.plain) {
                match all.iter_mut().find(|known| known.id == incident.id) {
                    Some(known) => *known = incident,
                    None => all.push(incident),
                }
            }
        })?;
        let log = SealedLog::open(env, &folder, sealer)?;
        Ok(Self { log: Mutex::new(Open { log, all }) })
    }

    /// Opens an incident of a kind, unless one is open, or closes the one that is.
    pub(crate) fn set(&self, kind: IncidentKind, failing: Option<&str>, now_ms: u64) {
        let Ok(mut open) = self.log.lock() else { return };
        let at = open.all.iter().position(|i| i.kind == kind && i.closed_ms.is_none());
        let changed = match (at, failing) {
            (None, Some(summary)) => Incident {
                id: format!("{}-{now_ms}", kind.name()),
                kind,
                opened_ms: now_ms,
                closed_ms: None,
                summary: summary.to_owned(),
            },
            (Some(at), None) => Incident { closed_ms: Some(now_ms), ..open.all[at].clone() },
            _ => return,
        };
        let text = serde_json::to_vec(&changed).unwrap_or_default();
        if let Err(e) = open.log.append(&text).and_then(|_| open.log.sync()) {
            // It stays in memory; the check that fails for this has its own place on the page.
            tracing::error!(error = %e, "the log of incidents cannot be written");
        }
        let (id, open_still) = (changed.id.clone(), changed.closed_ms.is_none());
        tracing::warn!(incident = %id, kind = kind.name(), open = open_still, "incident");
        match at {
            Some(at) => open.all[at] = changed,
            None => open.all.push(changed),
        }
        let oldest = now_ms.saturating_sub(u64::from(INCIDENT_DAYS) * 86_400_000);
        open.all.retain(|i| i.closed_ms.is_none_or(|closed| closed >= oldest));
    }

    /// Whether an incident of a kind is open.
    pub(crate) fn is_open(&self, kind: IncidentKind) -> bool {
        // Nobody knows what a poisoned lock holds.
        self.log
            .lock()
            .map_or(true, |open| open.all.iter().any(|i| i.kind == kind && i.closed_ms.is_none()))
    }

    /// The incidents of the last days, newest first.
    pub(crate) fn recent(&self, now_ms: u64) -> Vec<Incident> {
        let oldest = now_ms.saturating_sub(u64::from(INCIDENT_DAYS) * 86_400_000);
        let Ok(open) = self.log.lock() else { return Vec::new() };
        let recent = open.all.iter().filter(|i| i.closed_ms.is_none_or(|c| c >= oldest));
        recent.rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn incidents_open_and_close_by_themselves_and_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::real();
        let key = reelvault::KeyFile::create(&env, folder.path().join("key")).unwrap();
        let options = reelvault::Options::new(
            folder.path().join("store"),
            [folder.path().join("keyring/a")],
            Arc::new(key),
        );
        let store = reelvault::Store::create(options.background(false)).unwrap();
        let open = || {
            let sealer = store.sealer(PURPOSE).unwrap();
            Incidents::open(&env, folder.path(), sealer).unwrap()
        };
        let day = 86_400_000;
        let incidents = open();
        incidents.set(IncidentKind::Backup, Some("30 hours"), 100 * day);
        incidents.set(IncidentKind::Backup, Some("31 hours"), 100 * day + 1);
        incidents.set(IncidentKind::Integrity, None, 100 * day);
        assert_eq!(incidents.recent(100 * day).len(), 1);
        drop(incidents);
        let incidents = open();
        let are_open = KINDS.map(|kind| incidents.is_open(kind));
        assert_eq!(are_open, [false, false, true, false]);
        incidents.set(IncidentKind::Backup, None, 101 * day);
        assert!(!incidents.is_open(IncidentKind::Backup));
        incidents.set(IncidentKind::Retention, Some("2 days"), 102 * day);
        drop(incidents);
        let recent = open().recent(110 * day);
        let told: Vec<_> = recent.iter().map(|i| (i.kind, i.closed_ms)).collect();
        let closed = Some(101 * day);
        assert_eq!(told, [(IncidentKind::Retention, None), (IncidentKind::Backup, closed)]);
        assert_eq!(recent[1].summary, "30 hours");
        assert_eq!(open().recent(162 * day).len(), 1, "60 days later");
    }
}
