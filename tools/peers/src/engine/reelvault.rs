//! reelvault, by its public interface, as a recording service embeds it.

use std::borrow::Cow;
use std::sync::Arc;

use ::reelvault::env::Env;
use ::reelvault::{
    Chunk, Held, KeyFile, KeyProvider, Options, Order, Query, Retention, Session, SessionId, Site,
    SiteId, Store, VisitorId,
};

use super::{DAY_MS, Engine, Of, Setup};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// Every session's; the days that are compared are far from it.
const RETENTION_DAYS: u32 = 90;
/// The service's own choice, as `reelvault bench` has it: few sites share one.
const SHARDS: u16 = 4;

pub(super) struct Vault {
    store: Store,
    sites: Vec<Site>,
}

fn failed(e: impl Into<::reelvault::Error>) -> PeerError {
    PeerError::Peer(e.into().to_string())
}

fn site_id(site: u32) -> Result<SiteId> {
    SiteId::new(format!("site-{site}.example")).map_err(failed)
}

fn session_id(session: u64) -> Result<SessionId> {
    SessionId::new(format!("s-{session:016x}")).map_err(failed)
}

pub(super) fn open(setup: &Setup) -> Result<Vault> {
    let env = Env::real();
    let key = setup.dir.join("key");
    let is_new = !key.exists();
    let provider: Arc<dyn KeyProvider> = Arc::new(match is_new {
        true => KeyFile::create(&env, &key).map_err(failed)?,
        false => KeyFile::open(&env, &key).map_err(failed)?,
    });
    let mirrors = ["keyring-1", "keyring-2"].map(|name| setup.dir.join(name));
    let options = Options::new(setup.dir.join("store"), mirrors, provider)
        .shards(SHARDS)
        .cache_bytes(setup.cache_bytes);
    let store = match is_new {
        true => Store::create(options).map_err(failed)?,
        false => Store::open(options).map_err(failed)?,
    };
    let ids = (0..setup.sites).map(site_id).collect::<Result<Vec<_>>>()?;
    let sites = match is_new {
        true => store.add_sites(ids.into_iter().map(|id| (id, RETENTION_DAYS))).map_err(failed)?,
        false => ids.iter().map(|id| store.site(id).map_err(failed)).collect::<Result<_>>()?,
    };
    Ok(Vault { store, sites })
}

impl Vault {
    fn site(&self, site: u32) -> Result<&Site> {
        self.sites.get(site as usize).ok_or(PeerError::Harness("a site's number"))
    }
}

impl Engine for Vault {
    fn append(&self, row: &Row<'_>) -> Result<()> {
        let visitor = VisitorId::new(format!("v-{}", row.named.visitor)).map_err(failed)?;
        let session = Session::new(session_id(row.of.session)?).visitor(visitor);
        let chunk = Chunk {
            seq: row.seq.into(),
            first_ms: row.first_ms,
            last_ms: row.last_ms,
            events: Cow::Borrowed(row.events),
            snapshots: row.snapshots.clone(),
        };
        self.site(row.of.site)?.append(&session, &chunk).map(drop).map_err(failed)
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

    fn settle(&self) -> Result<()> {
        self.store.archive().map_err(failed)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { store, sites } = *self;
        drop(sites);
        store.close().map_err(failed)
    }
}
