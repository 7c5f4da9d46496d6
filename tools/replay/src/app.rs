//! What all requests share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipnet::IpNet;
use reelvault::env::Env;
use reelvault::{Sealer, SiteId};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::auth::bearer::Bearer;
use crate::auth::cookie::{self, SignedOut};
use crate::auth::oidc::OpenId;
use crate::blocking::Blocking;
use crate::config::Config;
use crate::limits::PASSWORD_CHECKS_MAX;
use crate::memory::Memory;
use crate::monitor::checks::Checks;
use crate::monitor::incidents::{self, IncidentKind, Incidents};
use crate::monitor::metrics::{Kind, Metrics};
use crate::monitor::scrub::{self, Scrub};
use crate::problem::Problem;
use crate::rate::Rates;
use crate::service::StartError;
use crate::shares::Shares;
use crate::source::Source;
use crate::tls::certificates::Certificates;

/// The service's state.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) blocking: Blocking,
    pub(crate) audit: Audit,
    pub(crate) bearers: Vec<Bearer>,
    pub(crate) issuers: Vec<OpenId>,
    pub(crate) cookies: Sealer,
    pub(crate) signed_out: SignedOut,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) rates: Rates,
    pub(crate) metrics: Metrics,
    pub(crate) checks: Checks,
    pub(crate) incidents: Incidents,
    pub(crate) scrub: Scrub,
    /// Held by whoever opens the store for writing.
    pub(crate) deeds: std::sync::Mutex<()>,
    /// Requests that may be worked on.
    pub(crate) requests: Arc<Semaphore>,
    /// Those of each address.
    pub(crate) shares: Arc<Shares>,
    /// Memory for what is on its way.
    pub(crate) memory: Memory,
    pub(crate) password_checks: Semaphore,
    /// From where a site may be used.
    pub(crate) allowed: HashMap<SiteId, Vec<IpNet>>,
    pub(crate) metrics_token: Option<[u8; 32]>,
    pub(crate) stopping: AtomicBool,
}

impl App {
    pub(crate) fn new(
        config: Config,
        env: Env,
        source: Arc<dyn Source>,
    ) -> Result<Self, StartError> {
        let certificates = Arc::new(Certificates::load(&config)?);
        let state = &config.state;
        let failed = |cause| StartError::State { path: state.clone(), cause };
        env.disk.create_dir(state).map_err(failed)?;
        let store = source.store();
        let issuer = |e: String| StartError::Issuer(e);
        let bearers = config.jwt.iter().map(Bearer::new).collect::<Result<Vec<_>, _>>();
        let issuers = config.oidc.iter().map(OpenId::new).collect::<Result<Vec<_>, _>>();
        let log = |e: crate::sealed_log::LogError| StartError::Log(e);
        let sealer = store.sealer(incidents::PURPOSE)?;
        let incidents = Incidents::open(&env, state, sealer).map_err(log)?;
        let was_damaged = incidents.is_open(IncidentKind::Integrity);
        Ok(Self {
            blocking: Blocking::new(),
            audit: Audit::start(&env, state, Arc::clone(&source)).map_err(failed)?,
            bearers: bearers.map_err(|e| issuer(e.to_string()))?,
            issuers: issuers.map_err(|e| issuer(e.to_string()))?,
            cookies: store.sealer(cookie::PURPOSE)?,
            signed_out: SignedOut::default(),
            certificates,
            rates: Rates::new(&config.limits),
            metrics: Metrics::new(),
            checks: Checks::default(),
            incidents,
            scrub: Scrub::open(&env, state, store.sealer(scrub::PURPOSE)?, was_damaged),
            deeds: std::sync::Mutex::new(()),
            requests: Arc::new(Semaphore::new(config.limits.requests as usize)),
            shares: Arc::default(),
            memory: Memory::new(config.limits.replay_mib),
            password_checks: Semaphore::new(PASSWORD_CHECKS_MAX),
            allowed: config.sites.iter().map(|s| (s.id.clone(), s.allow.clone())).collect(),
            metrics_token: token(config.metrics.token_file.as_deref())?,
            stopping: AtomicBool::new(false),
            config,
            env,
            source,
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Damage that was met in reading, if that is the problem, is counted and told to the checks.
    pub(crate) fn met(&self, problem: &Problem) {
        if let Some((file, kind)) = problem.damage.as_deref() {
            self.metrics.read_errors.get_or_create(&Kind { kind }).inc();
            self.scrub.met(file);
        }
    }

    /// Sets the figures that are those of the store, and gives all of them.
    pub(crate) fn metrics_text(&self) -> String {
        let m = &self.metrics;
        let store = self.source.store();
        if let Ok(stats) = store.stats() {
            let set = |gauge: &prometheus_client::metrics::gauge::Gauge, n: u64| {
                gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
            };
            set(&m.backlog, stats.backlog_bytes);
            set(&m.poisoned, stats.poisoned_shards.len() as u64);
            set(&m.stuck, stats.stuck_journals);
            set(&m.segments, stats.segments);
            set(&m.segment_bytes, stats.segment_bytes);
            set(&m.live_sessions, stats.live_sessions);
            set(&m.index_hits, stats.index_hits);
            set(&m.index_misses, stats.index_misses);
            set(&m.index_bytes, stats.index_bytes);
            set(&m.keyring_generation, stats.keyring_generation);
        }
        m.overdue_days.set(store.overdue_days().into());
        m.backup_age.set(self.source.backup_age_ms().map_or(f64::NAN, |ms| ms as f64 / 1000.0));
        let (_, refreshed_ms) = self.checks.refresh_state();
        let age_ms = self.env.clock.now_ms().saturating_sub(refreshed_ms);
        m.refresh_age.set(age_ms as f64 / 1000.0);
        let (oldest, share) = self.scrub.figures();
        m.oldest_unverified.set(oldest.map_or(f64::NAN, |ms| ms as f64 / 1000.0));
        m.scrub_progress.set(share);
        m.damaged_files.set(self.scrub.damaged().len() as i64);
        let audit = self.audit.figures();
        m.audit_failed.set(audit.failed.load(Relaxed) as i64);
        m.audit_dropped.set(audit.dropped.load(Relaxed) as i64);
        m.text()
    }
}

/// The digest of the token with which metrics are read.
fn token(path: Option<&Path>) -> Result<Option<[u8; 32]>, StartError> {
    let Some(path) = path else { return Ok(None) };
    let failed = |cause| StartError::State { path: path.to_owned(), cause };
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let text = text.trim();
    if text.len() < 16 {
        return Err(failed(std::io::Error::other("a token has at least 16 characters")));
    }
    Ok(Some(Sha256::digest(text).into()))
}
