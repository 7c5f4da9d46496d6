//! The audit log: who looked at, took away, erased or was refused what, of each site, sealed under the site's key.
//!
//! A deed is on the disk before its answer begins: one thread writes them, and those that wait share a sync. A view is written
//! by whoever shows it, so it is with the system when its answer begins, and on the disk within a tenth of a second. Attempts that were refused
//! are written afterwards, so that the time of an answer tells nothing.
//! Never an event's content, and never a recorded person's address: the address is that of whoever asked.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reelvault::env::Env;
use reelvault::{Error, Site, SiteHandle, SiteId};
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
/// How long views that were written may wait for the disk, so that many share a sync.
const SETTLE_TIME: Duration = Duration::from_millis(100);

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

enum Job {
    /// To be written, and told when it is as safe as it is to be.
    Write(Entry, Option<oneshot::Sender<bool>>),
    /// Views were written that are not on the disk yet.
    Settle,
}

/// The audit logs of all sites.
pub(crate) struct Audit {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    writer: Arc<Mutex<Writer>>,
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
            unsynced: HashSet::new(),
            lost: false,
        };
        let writer = Arc::new(Mutex::new(writer));
        let (thread, writing) =
            (std::thread::Builder::new().name("audit".into()), Arc::clone(&writer));
        let thread = thread.spawn(move || run(&writing, &jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), writer, figures })
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Records a deed. Whether it is recorded: if not, it must not be done.
    pub(crate) async fn record(&self, entry: Entry) -> bool {
        let (done, told) = oneshot::channel();
        let Some(queue) = &self.queue else { return false };
        queue.try_send(Job::Write(entry, Some(done))).is_ok() && told.await.unwrap_or(false)
    }

    /// Records a view, here. Whether it is recorded: if not, it must not be shown. It may block.
    pub(crate) fn record_view(&self, entry: &Entry) -> bool {
        let (written, first) = {
            let mut writer = self.writer.lock();
            let first = writer.unsynced.is_empty();
            (writer.write(entry).is_ok(), first)
        };
        if written
            && first
            && let Some(queue) = &self.queue
        {
            // If the queue is full, whoever empties it settles this too.
            let _ = queue.try_send(Job::Settle);
        }
        written
    }

    /// Records that something was refused, some time soon.
    pub(crate) fn denied(&self, entry: Entry) {
        let job = Job::Write(entry, None);
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
    /// Sites whose log has records that may not be on the disk yet.
    unsynced: HashSet<SiteHandle>,
    /// Whether since the last sync a log was closed whose records may never get to the disk.
    lost: bool,
}

/// Writes deeds and refusals, and sees that all that was written gets to the disk.
fn run(writer: &Mutex<Writer>, jobs: &Receiver<Job>) {
    let mut due: Option<Instant> = None;
    loop {
        let first = match due {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        let (mut wait, mut settles) = (Vec::new(), false);
        match first {
            Err(RecvTimeoutError::Disconnected) => {
                sync(writer);
                return;
            }
            Err(RecvTimeoutError::Timeout) => settles = true,
            Ok(first) => {
                // What waits by then shares the sync.
                for job in std::iter::once(first).chain(jobs.try_iter()) {
                    let Job::Write(entry, done) = job else {
                        due = due.or_else(|| Some(Instant::now() + SETTLE_TIME));
                        continue;
                    };
                    let written = writer.lock().write(&entry).is_ok();
                    due = due.or_else(|| Some(Instant::now() + SETTLE_TIME));
                    match done {
                        // A view may begin now; the others wait for the disk.
                        Some(done) if entry.action == Action::View || !written => {
                            let _ = done.send(written);
                        }
                        Some(done) => wait.push(done),
                        None => {}
                    }
                }
            }
        }
        // However much comes in, what was written does not wait longer.
        settles |= due.is_some_and(|at| at <= Instant::now());
        if settles || !wait.is_empty() {
            let synced = sync(writer);
            due = None;
            wait.into_iter().for_each(|done| _ = done.send(synced));
        }
    }
}

/// Makes durable what was written; nobody waits meanwhile who only writes.
fn sync(writer: &Mutex<Writer>) -> bool {
    let (files, lost): (Vec<_>, bool) = {
        let mut writer = writer.lock();
        let sites: Vec<SiteHandle> = writer.unsynced.drain().collect();
        let lost = std::mem::take(&mut writer.lost);
        let file = |site: SiteHandle| Some((site, writer.logs.get(&site)?.0.file()?));
        (sites.into_iter().filter_map(file).collect(), lost)
    };
    let mut all = !lost;
    for (site, file) in files {
        let synced = file.sync().map_err(LogError::from);
        all &= synced.is_ok();
        let mut writer = writer.lock();
        if synced.is_err() {
            // After a failed sync nothing is known of the file until it is read again.
            writer.logs.remove(&site);
        }
        writer.note(site, &synced);
    }
    all
}

impl Writer {
    /// Writes a record; of a site that is not there, or is no more, there is nothing to write.
    fn write(&mut self, entry: &Entry) -> Result<(), LogError> {
        let site = match self.source.store().site(&entry.site) {
            // What came to nothing because there is no such site has no log to stand in.
            Err(Error::UnknownSite(_) | Error::Erased) if entry.outcome != "ok" => return Ok(()),
            site => site?,
        };
        let handle = site.handle();
        let now_ms = self.env.clock.now_ms();
        if entry.action == Action::Denied && !self.may_record_denied(handle, now_ms / 60_000) {
            return Ok(());
        }
        let outcome = self.append(&site, entry, now_ms);
        self.note(handle, &outcome);
        if outcome.is_ok() {
            self.unsynced.insert(handle);
        }
        outcome
    }

    fn append(&mut self, site: &Site, entry: &Entry, now_ms: u64) -> Result<(), LogError> {
        let handle = site.handle();
        self.used += 1;
        if !self.logs.contains_key(&handle) {
            if self.logs.len() >= OPEN_MAX
                && let Some(oldest) = self.logs.iter().min_by_key(|(_, l)| l.1).map(|(h, _)| *h)
            {
                self.close(oldest);
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
            self.close(handle);
        }
        appended.map(drop)
    }

    /// Closes a log. Somebody may be waiting for records of it that are not on the disk yet, and nothing will sync them later.
    fn close(&mut self, site: SiteHandle) {
        let log = self.logs.remove(&site);
        if !self.unsynced.remove(&site) {
            return;
        }
        let synced = match log.and_then(|(log, _)| log.file()) {
            Some(file) => file.sync(),
            None => Err(std::io::Error::other("the log could not go on in its next file")),
        };
        if synced.is_err() {
            self.lost = true;
            self.note(site, &synced.map_err(LogError::from));
        }
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
            Ok(()) | Err(LogError::Store(Error::Erased)) => {
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

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
