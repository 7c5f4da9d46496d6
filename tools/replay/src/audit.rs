//! The audit log: who looked at, took away, erased or was refused what, of each site, sealed under the site's key.
//!
//! One thread writes. A deed is on the disk before its answer begins (a view is at least with the system by then, and on the
//! disk within moments); attempts that were refused are written afterwards, so that the time of an answer tells nothing.
//! Never an event's content, and never a recorded person's address: the address is that of whoever asked.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use reelvault::env::Env;
use reelvault::{Site, SiteHandle, SiteId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::limits::{AUDIT_QUEUE_MAX, DENIED_A_MINUTE};
use crate::sealed_log::{self, LogError, SealedLog};
use crate::source::Source;

/// For what the records are sealed.
pub const PURPOSE: &str = "replay service audit";
/// Logs that are kept open; each costs a file descriptor.
const OPEN_MAX: usize = 128;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A session's events or transcript were read.
    View,
    /// A session, or a window of a site, was taken away.
    Export,
    /// A session was erased.
    Erase,
    /// A session was put on hold.
    Hold,
    /// A hold was ended.
    Release,
    /// The audit log was read.
    Audit,
    /// Something was asked for that the caller may not have.
    Denied,
}

/// A record of the audit log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Its number at this site, from 1.
    pub number: u64,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Who: `user:NAME`, `oidc:ISSUER:SUBJECT`, `jwt:ISSUER:SUBJECT`, or `nobody`.
    pub who: String,
    /// What.
    pub action: Action,
    /// Of which session, if of one.
    pub session: Option<String>,
    /// How it ended: `ok`, or the kind of problem.
    pub outcome: String,
    /// The address of whoever asked.
    pub address: String,
}

// Who watched whom is not for a log.
impl std::fmt::Debug for AuditRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditRecord {{ number: {}, action: {:?} }}", self.number, self.action)
    }
}

/// What is to be recorded; number and time are added when it is written.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) site: SiteId,
    pub(crate) who: String,
    pub(crate) action: Action,
    pub(crate) session: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) address: String,
}

struct Job {
    entry: Entry,
    /// Told when it is as safe as it is to be.
    done: Option<oneshot::Sender<bool>>,
}

/// The audit logs of all sites.
pub(crate) struct Audit {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    figures: Arc<Figures>,
}

#[derive(Default)]
pub(crate) struct Figures {
    /// Records that could not be written.
    pub(crate) failed: AtomicU64,
    /// Attempts that were refused and not recorded, because there were too many.
    pub(crate) dropped: AtomicU64,
    /// Sites whose log could not be written the last time.
    pub(crate) failing: AtomicU64,
}

/// The folder of a site's log.
pub(crate) fn folder(state: &Path, site: SiteHandle) -> PathBuf {
    state.join("audit").join(site.to_string())
}

impl Audit {
    pub(crate) fn start(env: &Env, state: &Path, source: Arc<dyn Source>) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(AUDIT_QUEUE_MAX);
        let figures = Arc::new(Figures::default());
        let writer = Writer {
            env: env.clone(),
            state: state.to_owned(),
            source,
            figures: Arc::clone(&figures),
            logs: HashMap::new(),
            used: 0,
            denied: HashMap::new(),
            failing: HashSet::new(),
        };
        let thread = std::thread::Builder::new().name("audit".into());
        let thread = thread.spawn(move || writer.run(&jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), figures })
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Records a deed. Whether it is recorded: if not, it must not be done.
    pub(crate) async fn record(&self, entry: Entry) -> bool {
        let (done, told) = oneshot::channel();
        let Some(queue) = &self.queue else { return false };
        queue.try_send(Job { entry, done: Some(done) }).is_ok() && told.await.unwrap_or(false)
    }

    /// Records that something was refused, some time soon.
    pub(crate) fn denied(&self, entry: Entry) {
        let job = Job { entry, done: None };
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(job).is_err()) {
            self.figures.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Writes what is waiting, and ends.
    pub(crate) fn stop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Writer {
    env: Env,
    state: PathBuf,
    source: Arc<dyn Source>,
    figures: Arc<Figures>,
    logs: HashMap<SiteHandle, (SealedLog, u64)>,
    used: u64,
    /// Of each site: the minute, and how many attempts were recorded in it.
    denied: HashMap<SiteHandle, (u64, u32)>,
    failing: HashSet<SiteHandle>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            // What waits by then shares the syncs.
            let group: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).collect();
            let mut wait = Vec::new();
            let mut touched = Vec::new();
            for Job { entry, done } in group {
                let written = self.write(&entry);
                if let Ok(Some(handle)) = written {
                    touched.push(handle);
                }
                let ok = written.is_ok();
                match done {
                    // A view may begin now; the others wait for the disk.
                    Some(done) if entry.action == Action::View || !ok => _ = done.send(ok),
                    Some(done) => wait.push(done),
                    None => {}
                }
            }
            touched.sort_unstable();
            touched.dedup();
            let synced = touched.iter().all(|site| self.sync(*site));
            wait.into_iter().for_each(|done| _ = done.send(synced));
        }
    }

    /// Writes a record; of a site that is not there, or is no more, there is nothing to write.
    fn write(&mut self, entry: &Entry) -> Result<Option<SiteHandle>, LogError> {
        let site = match self.source.store().site(&entry.site) {
            Ok(site) => site,
            Err(_) if entry.action == Action::Denied => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let handle = site.handle();
        let now_ms = self.env.clock.now_ms();
        if entry.action == Action::Denied && !self.may_record_denied(handle, now_ms / 60_000) {
            return Ok(None);
        }
        let outcome = self.append(&site, entry, now_ms);
        self.note(handle, &outcome);
        outcome.map(|()| Some(handle))
    }

    fn append(&mut self, site: &Site, entry: &Entry, now_ms: u64) -> Result<(), LogError> {
        let handle = site.handle();
        self.used += 1;
        if !self.logs.contains_key(&handle) {
            if self.logs.len() >= OPEN_MAX
                && let Some(oldest) = self.logs.iter().min_by_key(|(_, l)| l.1).map(|(h, _)| *h)
            {
                self.logs.remove(&oldest);
            }
            let folder = folder(&self.state, handle);
            let log = SealedLog::open(&self.env, &folder, site.sealer(PURPOSE)?)?;
            self.logs.insert(handle, (log, 0));
        }
        let Some((log, used)) = self.logs.get_mut(&handle) else { return Ok(()) };
        *used = self.used;
        let record = AuditRecord {
            number: 0,
            at_ms: now_ms,
            who: short(&entry.who),
            action: entry.action,
            session: entry.session.clone(),
            outcome: entry.outcome.into(),
            address: entry.address.clone(),
        };
        let text = serde_json::to_vec(&record).map_err(std::io::Error::other)?;
        let appended = log.append(&text);
        if appended.is_err() {
            // Opening it again finds out what is there.
            self.logs.remove(&handle);
        }
        appended.map(drop)
    }

    fn sync(&mut self, site: SiteHandle) -> bool {
        let Some((log, _)) = self.logs.get(&site) else { return true };
        let synced = log.sync();
        if synced.is_err() {
            // After a failed sync nothing is known of the file until it is read again.
            self.logs.remove(&site);
        }
        self.note(site, &synced);
        synced.is_ok()
    }

    fn may_record_denied(&mut self, site: SiteHandle, minute: u64) -> bool {
        if self.denied.len() > 10_000 {
            self.denied.retain(|_, (at, _)| *at == minute);
        }
        let (at, count) = self.denied.entry(site).or_insert((minute, 0));
        if *at != minute {
            (*at, *count) = (minute, 0);
        }
        *count += 1;
        let may = *count <= DENIED_A_MINUTE;
        if !may {
            self.figures.dropped.fetch_add(1, Relaxed);
        }
        may
    }

    fn note(&mut self, site: SiteHandle, outcome: &Result<(), LogError>) {
        match outcome {
            // With an erased site its log is gone, which is as it should be.
            Ok(()) | Err(LogError::Store(reelvault::Error::Erased)) => {
                self.failing.remove(&site);
            }
            Err(e) => {
                tracing::error!(site = %site, error = %e, "an audit log cannot be written");
                self.figures.failed.fetch_add(1, Relaxed);
                self.failing.insert(site);
            }
        }
        self.figures.failing.store(self.failing.len() as u64, Relaxed);
    }
}

/// A name may be as long as its issuer likes; a record may not.
fn short(who: &str) -> String {
    who.chars().take(256).collect()
}

/// Reads the audit log of a site, newest first: the records before number `before`.
///
/// # Errors
/// [`LogError::Damaged`] if a record is not what was written or one is missing.
pub fn newest(
    env: &Env,
    state: &Path,
    site: &Site,
    before: u64,
    limit: usize,
) -> Result<Vec<AuditRecord>, LogError> {
    let folder = folder(state, site.handle());
    let records = sealed_log::newest(env, &folder, &site.sealer(PURPOSE)?, before, limit)?;
    records.into_iter().map(|r| parse(r.number, &r.plain)).collect()
}

/// Reads the whole audit log of a site, oldest first, and checks its chain. Returns the digest of the last record: whoever
/// keeps it can prove later that nothing was cut off.
///
/// # Errors
/// As [`newest`].
pub fn read_all(
    env: &Env,
    state: &Path,
    site: &Site,
    mut each: impl FnMut(AuditRecord),
) -> Result<[u8; 32], LogError> {
    let folder = folder(state, site.handle());
    let mut bad = None;
    let head = sealed_log::read_all(env, &folder, &site.sealer(PURPOSE)?, |r| {
        match parse(r.number, &r.plain) {
            Ok(record) => each(record),
            Err(e) => bad = bad.take().or(Some(e)),
        }
    })?;
    bad.map_or(Ok(head), Err)
}

fn parse(number: u64, plain: &[u8]) -> Result<AuditRecord, LogError> {
    let record = serde_json::from_slice(plain).map_err(|_| LogError::Damaged(number));
    record.map(|r| AuditRecord { number, ..r })
}
