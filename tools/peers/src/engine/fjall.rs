//! fjall: a keyspace for each day, large values apart (key-value separation), one commit thread with `SyncData`.

use std::collections::HashMap;
use std::sync::Arc;

use ::fjall::config::CompressionPolicy;
use ::fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    PersistMode,
};
use parking_lot::Mutex;

use super::gather::Gather;
use super::rows::{Put, Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup, Track};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

pub(super) struct Fjall {
    rows: Rows,
    gather: Gather,
    days: Arc<Days>,
}

struct Days {
    database: Database,
    track: Track,
    open: Mutex<HashMap<u32, Keyspace>>,
}

fn failed(e: ::fjall::Error) -> PeerError {
    PeerError::Peer(e.to_string())
}

pub(super) fn open(setup: &Setup) -> Result<Fjall> {
    let builder = Database::builder(&setup.dir).cache_size(setup.cache_bytes as u64);
    let database = builder.open().map_err(failed)?;
    let days = Arc::new(Days { database, track: setup.track, open: Mutex::default() });
    let same = Arc::clone(&days);
    let gather = Gather::new(move |puts| same.commit(puts));
    Ok(Fjall { rows: Rows::new(setup.sealer()?), gather, days })
}

impl Days {
    fn of(&self, day: u32) -> Result<Keyspace> {
        let mut open = self.open.lock();
        if let Some(keyspace) = open.get(&day) {
            return Ok(keyspace.clone());
        }
        // Whatever is deleted is collected as soon as its tables are compacted: less would leave it in the blob files for good.
        let apart = KvSeparationOptions::default().staleness_threshold(0.0).age_cutoff(1.0);
        let options = match self.track {
            // What is sealed can't be compressed.
            Track::EqualSecurity => KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .with_kv_separation(Some(apart.compression(CompressionType::None))),
            Track::Native => KeyspaceCreateOptions::default().with_kv_separation(Some(apart)),
        };
        let keyspace = self.database.keyspace(&day.to_string(), || options).map_err(failed)?;
        open.insert(day, keyspace.clone());
        Ok(keyspace)
    }

    fn commit(&self, puts: &[Put]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for put in puts {
            let keyspace = self.of(put.of.day())?;
            batch.insert(&keyspace, &*put.chunk, &*put.chunk_value);
            batch.insert(&keyspace, &*put.session, &*put.session_value);
        }
        batch.commit().map_err(failed)
    }
}

impl Fjall {
    fn get(&self, of: Of, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.days.of(of.day())?.get(key).map_err(failed)?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// The keys of a session.
    fn keys(&self, of: Of) -> Result<Vec<Vec<u8>>> {
        let chunks = self.days.of(of.day())?.range(chunk_key(of, 0)..chunk_key(of, u32::MAX));
        let mut keys = chunks
            .map(|entry| Ok(entry.key().map_err(failed)?.to_vec()))
            .collect::<Result<Vec<_>>>()?;
        keys.push(session_key(of));
        Ok(keys)
    }
}

impl Engine for Fjall {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let bytes = put.bytes();
        self.gather.append(put)?;
        Ok(bytes)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        for entry in self.days.of(of.day())?.range(chunk_key(of, 0)..chunk_key(of, u32::MAX)) {
            let (key, value) = Guard::into_inner(entry).map_err(failed)?;
            self.rows.chunk(of, &key, value.to_vec())?.play(to)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.rows.seek(of, (ms, until_ms), &mut |key| self.get(of, key), to)
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let start = u64::from(day) * DAY_MS;
        let range = session_from(site, start)..session_from(site, start + DAY_MS);
        let newest = self.days.of(day)?.range(range).rev().take(limit);
        newest
            .map(|entry| {
                let (key, value) = Guard::into_inner(entry).map_err(failed)?;
                self.rows.named(site, &key, value.to_vec())
            })
            .collect()
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        let keyspace = self.days.of(day)?;
        // The folder goes when nobody holds the keyspace any more.
        self.days.open.lock().remove(&day);
        self.days.database.delete_keyspace(keyspace).map_err(failed)
    }

    fn erase(&self, of: Of) -> Result<()> {
        let keyspace = self.days.of(of.day())?;
        let mut batch = self.days.database.batch().durability(Some(PersistMode::SyncData));
        for key in self.keys(of)? {
            batch.remove(&keyspace, key);
        }
        batch.commit().map_err(failed)?;
        // What was deleted is on the disk until it is written again without it. The first compaction finds out which blobs are stale, the second
        // leaves them behind.
        keyspace.rotate_memtable_and_wait().map_err(failed)?;
        keyspace.major_compact().map_err(failed)?;
        keyspace.major_compact().map_err(failed)
    }

    fn settle(&self) -> Result<()> {
        let open: Vec<_> = self.days.open.lock().values().cloned().collect();
        open.iter().try_for_each(|keyspace| keyspace.rotate_memtable_and_wait().map_err(failed))?;
        while self.days.database.outstanding_flushes() + self.days.database.active_compactions() > 0
        {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { gather, days, .. } = *self;
        drop(gather);
        days.database.persist(PersistMode::SyncAll).map_err(failed)
    }
}
