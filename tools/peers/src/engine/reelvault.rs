//! reelvault, by its public interface, as a recording service embeds it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::reelvault::backup::{Backup, DirPlace, How, Repository, What};
use ::reelvault::env::Env;
use ::reelvault::{
    Chunk, Held, KeyFile, KeyProvider, Options, Order, Query, Retention, Session, SessionId, Site,
    SiteId, Store, VisitorId,
};

use super::{DAY_MS, Engine, Of, Setup};
use crate::measure::copy;
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// Every session's; the days that are compared are far from it.
const RETENTION_DAYS: u32 = 90;
/// The service's own choice, as `reelvault bench` has it: few sites share one.
const SHARDS: u16 = 4;

const KEY: &str = "key";
const KEYRINGS: [&str; 2] = ["keyring-1", "keyring-2"];
const STORE: &str = "store";

pub(super) struct Vault {
    options: Options,
    dir: PathBuf,
    store: Store,
    sites: Vec<Site>,
}

fn failed(e: impl Into<::reelvault::Error>) -> PeerError {
    match e.into() {
        ::reelvault::Error::UnknownSession
        | ::reelvault::Error::Erased
        | ::reelvault::Error::Expired { .. } => PeerError::NotThere,
        e => PeerError::Peer(e.to_string()),
    }
}

/// A copy that lacks something would be faster.
fn undamaged(damage: Vec<::reelvault::Error>) -> Result<()> {
    damage.into_iter().next().map_or(Ok(()), |e| Err(failed(e)))
}

fn site_id(site: u32) -> Result<SiteId> {
    SiteId::new(format!("site-{site}.example")).map_err(failed)
}

fn session_id(session: u64) -> Result<SessionId> {
    SessionId::new(format!("s-{session:016x}")).map_err(failed)
}

pub(super) fn open(setup: &Setup) -> Result<Vault> {
    let env = Env::real();
    let key = setup.dir.join(KEY);
    let is_new = !key.exists();
    let provider: Arc<dyn KeyProvider> = Arc::new(match is_new {
        true => KeyFile::create(&env, &key).map_err(failed)?,
        false => KeyFile::open(&env, &key).map_err(failed)?,
    });
    let mirrors = KEYRINGS.map(|name| setup.dir.join(name));
    let dir = setup.dir.join(STORE);
    let options =
        Options::new(&dir, mirrors, provider).shards(SHARDS).cache_bytes(setup.cache_bytes);
    let store = match is_new {
        true => Store::create(options.clone()).map_err(failed)?,
        false => Store::open(options.clone()).map_err(failed)?,
    };
    let ids = (0..setup.sites).map(site_id).collect::<Result<Vec<_>>>()?;
    let sites = match is_new {
        true => store.add_sites(ids.into_iter().map(|id| (id, RETENTION_DAYS))).map_err(failed)?,
        false => ids.iter().map(|id| store.site(id).map_err(failed)).collect::<Result<_>>()?,
    };
    Ok(Vault { options, dir, store, sites })
}

fn repository(options: &Options, dir: &Path) -> Result<Repository> {
    let place = Arc::new(DirPlace::new(&Env::real(), dir));
    Repository::open_or_make(place, options.clone()).map_err(failed)
}

/// The store out of its backup. Keys are in no backup: they are taken along, as an operator does who moves to another machine.
pub(super) fn restore(live: &Setup, backup: &Path, to: &Setup) -> Result<()> {
    super::make_dir(&to.dir)?;
    for name in [KEY].into_iter().chain(KEYRINGS) {
        copy(&live.dir.join(name), &to.dir.join(name))?;
        let parts = format!("{name}.parts");
        if live.dir.join(&parts).exists() {
            copy(&live.dir.join(&parts), &to.dir.join(&parts))?;
        }
    }
    let provider = KeyFile::open(&Env::real(), to.dir.join(KEY)).map_err(failed)?;
    let mirrors = KEYRINGS.map(|name| to.dir.join(name));
    let repository =
        repository(&Options::new(to.dir.join(STORE), mirrors, Arc::new(provider)), backup)?;
    let latest = repository.latest(None).map_err(failed)?;
    let restored = repository.restore(latest, to.dir.join(STORE), &What::All, &|_| true);
    undamaged(restored.map_err(failed)?.damage)
}

impl Vault {
    fn site(&self, site: u32) -> Result<&Site> {
        self.sites.get(site as usize).ok_or(PeerError::Harness("a site's number"))
    }
}

impl Engine for Vault {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let visitor = VisitorId::new(format!("v-{}", row.named.visitor)).map_err(failed)?;
        let session = Session::new(session_id(row.of.session)?).visitor(visitor);
        let chunk = Chunk {
            seq: row.seq.into(),
            first_ms: row.first_ms,
            last_ms: row.last_ms,
            events: Cow::Borrowed(row.events),
            snapshots: row.snapshots.clone(),
        };
        let appended = self.site(row.of.site)?.append(&session, &chunk).map_err(failed)?;
        Ok(appended.stored_bytes.into())
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let replay = self.site(of.site)?.replay(&session_id(of.session)?);
        let mut replay = replay.map_err(failed)?;
        while let Some(chunk) = replay.next_chunk().map_err(failed)? {
            to(chunk.events);
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let replay = self.site(of.site)?.replay_from(&session_id(of.session)?, ms);
        let mut replay = replay.map_err(failed)?.until(until_ms);
        while let Some(chunk) = replay.next_chunk().map_err(failed)? {
            to(chunk.events);
        }
        Ok(())
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let (from, to) = (u64::from(day) * DAY_MS, u64::from(day + 1) * DAY_MS);
        let query = Query::new().between(from, to).order(Order::NewestFirst).limit(limit);
        let page = self.site(site)?.sessions(&query).map_err(failed)?;
        let number = |text: &str| {
            let digits = text.split_once('-').map_or("", |(_, digits)| digits);
            u64::from_str_radix(digits, 16).ok()
        };
        let named = page.sessions.iter().map(|info| {
            Some(Named {
                session: number(info.id.as_str())?,
                start_ms: info.start_ms,
                end_ms: info.last_ms,
                chunks: info.chunks,
                raw_bytes: info.raw_bytes,
                visitor: info.visitor.as_ref()?.as_str().strip_prefix("v-")?.parse().ok()?,
            })
        });
        named.collect::<Option<_>>().ok_or(PeerError::Harness("a session's id"))
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        // As if it were the day on which they are not kept any more.
        let now_ms = u64::from(day + RETENTION_DAYS + 1) * DAY_MS;
        let expiry = self.store.retention(&Retention::new().now_ms(now_ms)).map_err(failed)?;
        if expiry.segments == 0 { Err(PeerError::Harness("nothing was dropped")) } else { Ok(()) }
    }

    fn erase(&self, of: Of) -> Result<()> {
        let sessions = [session_id(of.session)?];
        let erasure = self.site(of.site)?.erase_sessions(sessions, Held::Refuse);
        match erasure.map_err(failed)?.sessions {
            1 => Ok(()),
            _ => Err(PeerError::Harness("nothing was erased")),
        }
    }

    fn back_up(&self, to: &Path) -> Result<()> {
        let repository = repository(&self.options, to)?;
        let mut backup = Backup::new(&repository, &self.dir).map_err(failed)?;
        undamaged(backup.run(&How::default(), &|_| true).map_err(failed)?.damage)
    }

    fn settle(&self) -> Result<()> {
        self.store.archive().map_err(failed)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { store, sites, .. } = *self;
        drop(sites);
        store.close().map_err(failed)
    }
}
