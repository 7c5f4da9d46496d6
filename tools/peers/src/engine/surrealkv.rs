//! SurrealKV: sealed by itself, with a database for each site, as its keys are a database's; or one for all without encryption.
//!
//! A day is dropped by `delete_range`, and its space comes back when that is compacted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::surrealkv::{
    CipherSuite, CompactRangeOptions, Durability, LSMIterator, Mode, SoftwareKeyManager, Tree,
    TreeBuilder,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::rows::{Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup, Track};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// A database's cache is no smaller than this, however many databases there are.
const CACHE_BYTES_MIN: usize = 1 << 20;

/// Files of the value log go as a whole, the oldest first: smaller than by default, as each database has a share of the data.
const LOG_BYTES: u64 = 4 << 20;

pub(super) struct Surreal {
    rows: Rows,
    dir: PathBuf,
    track: Track,
    /// Of each database: all together have as much memory as another peer has.
    cache_bytes: usize,
    sites: u32,
    runtime: Runtime,
    trees: Mutex<HashMap<u32, Arc<Tree>>>,
}

/// Keys from the first to before the second.
type Range = (Vec<u8>, Vec<u8>);

fn failed(e: ::surrealkv::Error) -> PeerError {
    PeerError::Peer(e.to_string())
}

pub(super) fn open(setup: &Setup) -> Result<Surreal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| PeerError::Io(setup.dir.clone(), e))?;
    let rows = Rows::new(setup.sealer()?.map(crate::seal::Sealer::only_packing));
    let (dir, track, sites) = (setup.dir.clone(), setup.track, setup.sites);
    let trees = if track == Track::EqualSecurity { sites as usize } else { 1 };
    let cache_bytes = setup.cache_of(trees, CACHE_BYTES_MIN);
    let trees = Mutex::default();
    let surreal = Surreal { rows, dir, track, cache_bytes, sites, runtime, trees };
    for site in 0..sites {
        if surreal.dir.join(surreal.place(site).to_string()).exists() {
            surreal.tree(site)?;
        }
    }
    Ok(surreal)
}

impl Surreal {
    fn place(&self, site: u32) -> u32 {
        if self.track == Track::EqualSecurity { site } else { 0 }
    }

    fn tree(&self, site: u32) -> Result<Arc<Tree>> {
        let place = self.place(site);
        let mut trees = self.trees.lock();
        if let Some(tree) = trees.get(&place) {
            return Ok(Arc::clone(tree));
        }
        let cache_bytes = self.cache_bytes;
        let mut builder = TreeBuilder::new()
            .with_path(self.dir.join(place.to_string()))
            .with_block_cache_capacity(cache_bytes as u64);
        if self.track == Track::EqualSecurity {
            let key = format!("{:064x}", 0x5a5a_0000_u64 + u64::from(place));
            let keys =
                SoftwareKeyManager::from_hex(&key).map_err(|e| PeerError::Peer(e.to_string()))?;
            builder = builder
                .with_enable_vlog(true)
                .with_vlog_max_file_size(LOG_BYTES)
                .with_max_memtable_size(cache_bytes.max(4 << 20))
                .with_encryption(Arc::new(keys), CipherSuite::Aes256Gcm);
        }
        let _inside = self.runtime.enter();
        let tree = Arc::new(builder.build().map_err(failed)?);
        trees.insert(place, Arc::clone(&tree));
        Ok(tree)
    }

    fn all(&self) -> Vec<Arc<Tree>> {
        self.trees.lock().values().cloned().collect()
    }

    /// Deletes ranges, and writes what stands from the first of each pair of keys to the second again without them.
    fn delete(&self, tree: &Tree, ranges: &[Range], again: &[Range]) -> Result<()> {
        let mut transaction = tree.begin_with_mode(Mode::WriteOnly).map_err(failed)?;
        transaction.set_durability(Durability::Immediate);
        for (from, end) in ranges {
            transaction.delete_range(from.clone(), end.clone()).map_err(failed)?;
        }
        self.runtime.block_on(transaction.commit()).map_err(failed)?;
        let how = CompactRangeOptions {
            flush_memtable: true,
            rewrite_bottommost: true,
            ..CompactRangeOptions::default()
        };
        again.iter().try_for_each(|(from, end)| {
            tree.compact_range(Some(from), Some(end), &how).map_err(failed)
        })
    }

    /// Deletes a day of these sites, which are all that a database has. Its chunks stand in one range, its sessions in one for each site.
    fn drop_of(&self, sites: std::ops::Range<u32>, day: u32) -> Result<()> {
        let start = u64::from(day) * DAY_MS;
        let at = |start_ms| Of { site: 0, session: 0, start_ms };
        let chunks = (chunk_key(at(start), 0), chunk_key(at(start + DAY_MS), 0));
        let sessions = sites
            .clone()
            .map(|site| (session_from(site, start), session_from(site, start + DAY_MS)));
        let deleted: Vec<_> = [chunks.clone()].into_iter().chain(sessions).collect();
        let all_sessions = (session_from(sites.start, 0), session_from(sites.end, 0));
        self.delete(&*self.tree(sites.start)?, &deleted, &[chunks, all_sessions])
    }
}

impl Engine for Surreal {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let bytes = put.bytes();
        let tree = self.tree(row.of.site)?;
        let mut transaction = tree.begin_with_mode(Mode::WriteOnly).map_err(failed)?;
        transaction.set_durability(Durability::Immediate);
        transaction.set(put.chunk, put.chunk_value).map_err(failed)?;
        transaction.set(put.session, put.session_value).map_err(failed)?;
        self.runtime.block_on(transaction.commit()).map_err(failed)?;
        Ok(bytes)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let tree = self.tree(of.site)?;
        let transaction = tree.begin_with_mode(Mode::ReadOnly).map_err(failed)?;
        let (from, end) = (chunk_key(of, 0), chunk_key(of, u32::MAX));
        let mut found = transaction.range(&from, &end).map_err(failed)?;
        let mut is_there = found.seek_first().map_err(failed)?;
        while is_there {
            let key = found.key().user_key().to_vec();
            let value = found.value().map_err(failed)?;
            self.rows.chunk(of, &key, value.to_vec())?.play(to)?;
            is_there = found.next().map_err(failed)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let tree = self.tree(of.site)?;
        let transaction = tree.begin_with_mode(Mode::ReadOnly).map_err(failed)?;
        let mut get = |key: &[u8]| {
            let value = transaction.get(key).map_err(failed)?;
            Ok(value.map(|value| value.to_vec()))
        };
        self.rows.seek(of, (ms, until_ms), &mut get, to)
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let start = u64::from(day) * DAY_MS;
        let tree = self.tree(site)?;
        let transaction = tree.begin_with_mode(Mode::ReadOnly).map_err(failed)?;
        let (from, end) = (session_from(site, start), session_from(site, start + DAY_MS));
        let mut found = transaction.range(&from, &end).map_err(failed)?;
        let mut is_there = found.seek_last().map_err(failed)?;
        let mut named = Vec::new();
        while is_there && named.len() < limit {
            let key = found.key().user_key().to_vec();
            let value = found.value().map_err(failed)?;
            named.push(self.rows.named(site, &key, value.to_vec())?);
            is_there = found.prev().map_err(failed)?;
        }
        Ok(named)
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        match self.track {
            Track::EqualSecurity => {
                (0..self.sites).try_for_each(|site| self.drop_of(site..site + 1, day))
            }
            Track::Native => self.drop_of(0..self.sites, day),
        }
    }

    fn erase(&self, of: Of) -> Result<()> {
        let session = session_key(of);
        let after = [&session[..], &[0]].concat();
        let ranges = [(chunk_key(of, 0), chunk_key(of, u32::MAX)), (session, after)];
        self.delete(&*self.tree(of.site)?, &ranges, &ranges)
    }

    fn settle(&self) -> Result<()> {
        // It has no other way to wait for its compactions. What is in the last level already is not written again.
        let how = CompactRangeOptions {
            flush_memtable: true,
            rewrite_bottommost: false,
            ..CompactRangeOptions::default()
        };
        self.all().iter().try_for_each(|tree| tree.compact_range(None, None, &how).map_err(failed))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.all().iter().try_for_each(|tree| self.runtime.block_on(tree.close()).map_err(failed))
    }
}
