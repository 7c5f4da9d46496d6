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

pub(super) struct Surreal {
    rows: Rows,
    dir: PathBuf,
    track: Track,
    cache_bytes: usize,
    sites: u32,
    runtime: Runtime,
    trees: Mutex<HashMap<u32, Arc<Tree>>>,
}

fn failed(e: ::surrealkv::Error) -> PeerError {
    PeerError::Peer(e.to_string())
}

pub(super) fn open(setup: &Setup) -> Result<Surreal> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| PeerError::Io(setup.dir.clone(), e))?;
    let rows = Rows::new(setup.sealer().map(crate::seal::Sealer::only_packing));
    let (dir, track, cache_bytes) = (setup.dir.clone(), setup.track, setup.cache_bytes);
    let sites = setup.sites;
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
        // All databases together have as much memory as another peer has.
        let cache_bytes = match self.track {
            Track::EqualSecurity => (self.cache_bytes / self.sites.max(1) as usize).max(1 << 20),
            Track::Native => self.cache_bytes,
        };
        let mut builder = TreeBuilder::new()
            .with_path(self.dir.join(place.to_string()))
            .with_block_cache_capacity(cache_bytes as u64);
        if self.track == Track::EqualSecurity {
            let key = format!("{:064x}", 0x5a5a_0000_u64 + u64::from(place));
            let keys =
                SoftwareKeyManager::from_hex(&key).map_err(|e| PeerError::Peer(e.to_string()))?;
            builder = builder
                .with_enable_vlog(true)
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

    /// Deletes ranges and writes what stood there again without it.
    fn delete(&self, tree: &Tree, ranges: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
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
        ranges.iter().try_for_each(|(from, end)| {
            tree.compact_range(Some(from), Some(end), &how).map_err(failed)
        })
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
            to(&self.rows.chunk(of, &key, value.to_vec())?.events()?);
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
        let start = u64::from(day) * DAY_MS;
        for site in 0..self.sites {
            let of = |start_ms| Of { site, session: 0, start_ms };
            let chunks = match self.track {
                Track::EqualSecurity => (chunk_key(of(start), 0), chunk_key(of(start + DAY_MS), 0)),
                Track::Native => {
                    let after = Of { site: site + 1, ..of(start) };
                    (chunk_key(of(start), 0), chunk_key(after, 0))
                }
            };
            let sessions = (session_from(site, start), session_from(site, start + DAY_MS));
            self.delete(&*self.tree(site)?, &[chunks, sessions])?;
        }
        Ok(())
    }

    fn erase(&self, of: Of) -> Result<()> {
        let session = session_key(of);
        let after = [&session[..], &[0]].concat();
        let chunks = (chunk_key(of, 0), chunk_key(of, u32::MAX));
        self.delete(&*self.tree(of.site)?, &[chunks, (session, after)])
    }

    fn settle(&self) -> Result<()> {
        let how = CompactRangeOptions { flush_memtable: true, ..CompactRangeOptions::default() };
        self.all().iter().try_for_each(|tree| tree.compact_range(None, None, &how).map_err(failed))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.all().iter().try_for_each(|tree| self.runtime.block_on(tree.close()).map_err(failed))
    }
}
