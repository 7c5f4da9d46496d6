//! The checks of the status page, and the rules by which they open and close incidents.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

use super::incidents::{Incident, IncidentKind, KINDS};
use super::metrics::Kind;

/// Refreshes that may fail before it counts: the writer may be in the middle of something.
const FAILED_REFRESHES_MAX: u32 = 3;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Degraded,
    Down,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) detail: String,
    /// Since when it is so, Unix milliseconds.
    pub(crate) since_ms: u64,
}

/// The status page.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusBody {
    pub(crate) state: State,
    pub(crate) checks: Vec<Check>,
    pub(crate) incidents: Vec<Incident>,
    /// How many days of incidents are shown.
    pub(crate) days: u32,
}

/// What the checks found last.
#[derive(Default)]
pub(crate) struct Checks {
    last: Mutex<Vec<Check>>,
    failed_refreshes: Mutex<(u32, u64)>,
}

impl Checks {
    /// The store was taken in, or could not be.
    pub(crate) fn refreshed(&self, ok: bool, now_ms: u64) {
        if let Ok(mut failed) = self.failed_refreshes.lock() {
            *failed = if ok { (0, now_ms) } else { (failed.0.saturating_add(1), failed.1) };
        }
    }

    /// How often taking it in failed since it last succeeded, and when that was.
    pub(crate) fn refresh_state(&self) -> (u32, u64) {
        self.failed_refreshes.lock().map(|f| *f).unwrap_or((u32::MAX, 0))
    }

    pub(crate) fn last(&self) -> Vec<Check> {
        self.last.lock().map(|l| l.clone()).unwrap_or_default()
    }

    /// Whether recordings can be served.
    pub(crate) fn is_ready(&self) -> bool {
        let last = self.last();
        !last.is_empty() && last.iter().all(|c| c.state != State::Down)
    }
}

/// What a check finds: how it is, and what to tell. The page is public: no file, no number of sessions, no site.
fn look(app: &App, kind: IncidentKind) -> (State, String) {
    match kind {
        IncidentKind::Integrity => match app.scrub.damaged().len() {
            0 if app.scrub.is_unknown() => {
                (State::Degraded, "What is damaged is not known; everything is looked at.".into())
            }
            0 => (State::Ok, "No damage is known.".into()),
            1 => (State::Degraded, "One file is damaged; what it does not hold is served.".into()),
            n => (State::Degraded, format!("{n} files are damaged; the rest is served.")),
        },
        IncidentKind::Availability => {
            let (failed, _) = app.checks.refresh_state();
            let audit = app.audit.figures().failing.load(Relaxed);
            if failed >= FAILED_REFRESHES_MAX {
                (State::Down, "The recordings cannot be read.".into())
            } else if audit != 0 {
                (
                    State::Degraded,
                    "What is done at a site cannot be recorded, and is refused.".into(),
                )
            } else {
                (State::Ok, "Recordings are served.".into())
            }
        }
        IncidentKind::Backup => match app.source.backup_age_ms() {
            None => (State::Ok, "A live store is served.".into()),
            Some(age_ms) => {
                let hours = age_ms / 3_600_000;
                let late = hours >= app.config.status.backup_hours_max.into();
                let state = if late { State::Degraded } else { State::Ok };
                (state, format!("The last backup is {hours} hours old."))
            }
        },
        IncidentKind::Retention => {
            let days = app.source.store().overdue_days();
            let late = days > app.config.status.retention_days_max;
            match late {
                true => (State::Degraded, format!("Deletion is {days} days late.")),
                false => (State::Ok, "Everything was deleted in time.".into()),
            }
        }
    }
}

/// Runs all checks, and opens and closes incidents. It may block.
pub(crate) fn run(app: &App) {
    let now_ms = app.env.clock.now_ms();
    // Before the incident is opened: after a restart it must be known why it is open.
    app.scrub.keep_damaged();
    let before = app.checks.last();
    let mut checks = Vec::new();
    for kind in KINDS {
        let (state, detail) = look(app, kind);
        let failing = (state != State::Ok).then_some(&*detail);
        app.incidents.set(kind, failing, now_ms);
        let name = kind.name();
        let known = before.iter().find(|c| c.name == name && c.state == state);
        let since_ms = known.map_or(now_ms, |c| c.since_ms);
        let label = Kind { kind: name };
        app.metrics.check_ok.get_or_create(&label).set((state == State::Ok).into());
        app.metrics.incidents.get_or_create(&label).set((state != State::Ok).into());
        checks.push(Check { name: name.into(), state, detail, since_ms });
    }
    if let Ok(mut last) = app.checks.last.lock() {
        *last = checks;
    }
}

/// The status page's content.
pub(crate) fn status(app: &App) -> StatusBody {
    let checks = app.checks.last();
    StatusBody {
        state: checks.iter().map(|c| c.state).max().unwrap_or(State::Down),
        checks,
        incidents: app.incidents.recent(app.env.clock.now_ms()),
        days: crate::limits::INCIDENT_DAYS,
    }
}
