//! redb: a file for each day, because a table that is deleted leaves its pages in the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use parking_lot::Mutex;

use super::gather::Gather;
use super::rows::{Put, Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup, day};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// A file's cache is no smaller than this, however many files there are.
const CACHE_BYTES_MIN: usize = 4 << 20;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub(super) struct Redb {
    rows: Rows,
    gather: Gather,
    days: Arc<Days>,
}

/// The databases that are open.
struct Days {
    dir: PathBuf,
    cache_bytes: usize,
    open: Mutex<HashMap<u32, Arc<Database>>>,
}

fn failed(e: impl Into<::redb::Error>) -> PeerError {
    PeerError::Peer(e.into().to_string())
}

pub(super) fn open(setup: &Setup) -> Result<Redb> {
    let cache_bytes = setup.cache_of(setup.days.len(), CACHE_BYTES_MIN);
    let days = Arc::new(Days { dir: setup.dir.clone(), cache_bytes, open: Mutex::default() });
    for day in setup.days.clone().filter(|day| days.path(*day).exists()) {
        days.of(day)?;
    }
    let same = Arc::clone(&days);
    let gather = Gather::new(move |puts| same.commit(puts));
    Ok(Redb { rows: Rows::new(setup.sealer()?), gather, days })
}

impl Days {
    fn path(&self, day: u32) -> PathBuf {
        self.dir.join(format!("{day}.redb"))
    }

    fn of(&self, day: u32) -> Result<Arc<Database>> {
        let mut open = self.open.lock();
        if let Some(database) = open.get(&day) {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(self.make(&self.path(day))?);
        let there = database.begin_read().map_err(failed)?.open_table(TABLE);
        match there {
            Err(TableError::TableDoesNotExist(_)) => {
                let begin = database.begin_write().map_err(failed)?;
                begin.open_table(TABLE).map_err(failed)?;
                begin.commit().map_err(failed)?;
            }
            there => drop(there.map_err(failed)?),
        }
        open.insert(day, Arc::clone(&database));
        Ok(database)
    }

    fn make(&self, path: &Path) -> Result<Database> {
        Database::builder().set_cache_size(self.cache_bytes).create(path).map_err(failed)
    }

    /// Copies what there is of a day into a new file: what was deleted stands in freed pages of the old one, and compacting leaves some of it.
    fn write_again(&self, day: u32) -> Result<()> {
        let mut open = self.open.lock();
        let (path, new) = (self.path(day), self.path(day).with_extension("new"));
        {
            let old = open.remove(&day).ok_or(PeerError::NotThere)?;
            let read = old.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)?;
            let copy = self.make(&new)?;
            let write = copy.begin_write().map_err(failed)?;
            {
                let mut table = write.open_table(TABLE).map_err(failed)?;
                for entry in read.iter().map_err(failed)? {
                    let (key, value) = entry.map_err(failed)?;
                    table.insert(key.value(), value.value()).map_err(failed)?;
                }
            }
            write.commit().map_err(failed)?;
        }
        let moved =
            std::fs::rename(&new, &path).and_then(|()| std::fs::File::open(&self.dir)?.sync_all());
        moved.map_err(|e| PeerError::Io(path, e))
    }

    /// One transaction for each day: nearly always one.
    fn commit(&self, puts: &[Put]) -> Result<()> {
        for puts in puts.chunk_by(|a, b| a.of.day() == b.of.day()) {
            let Some(first) = puts.first() else { continue };
            let mut write = self.of(first.of.day())?.begin_write().map_err(failed)?;
            write.set_durability(Durability::Immediate).map_err(failed)?;
            {
                let mut table = write.open_table(TABLE).map_err(failed)?;
                for put in puts {
                    table.insert(&*put.chunk, &*put.chunk_value).map_err(failed)?;
                    table.insert(&*put.session, &*put.session_value).map_err(failed)?;
                }
            }
            write.commit().map_err(failed)?;
        }
        Ok(())
    }
}

impl Redb {
    fn get(&self, of: Of, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let read = self.days.of(of.day())?.begin_read().map_err(failed)?;
        let table = read.open_table(TABLE).map_err(failed)?;
        Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec()))
    }
}

impl Engine for Redb {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let bytes = put.bytes();
        self.gather.append(put)?;
        Ok(bytes)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let read = self.days.of(of.day())?.begin_read().map_err(failed)?;
        let table = read.open_table(TABLE).map_err(failed)?;
        let (from, end) = (chunk_key(of, 0), chunk_key(of, u32::MAX));
        for entry in table.range(&*from..&*end).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            self.rows.chunk(of, key.value(), value.value().to_vec())?.play(to)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.rows.seek(of, (ms, until_ms), &mut |key| self.get(of, key), to)
    }

    fn list(&self, site: u32, of_day: u32, limit: usize) -> Result<Vec<Named>> {
        let read = self.days.of(of_day)?.begin_read().map_err(failed)?;
        let table = read.open_table(TABLE).map_err(failed)?;
        let start = u64::from(of_day) * DAY_MS;
        let (from, end) = (session_from(site, start), session_from(site, start + DAY_MS));
        let newest = table.range(&*from..&*end).map_err(failed)?.rev().take(limit);
        newest
            .map(|entry| {
                let (key, value) = entry.map_err(failed)?;
                self.rows.named(site, key.value(), value.value().to_vec())
            })
            .collect()
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        self.days.open.lock().remove(&day);
        super::remove(&self.days.path(day))
    }

    fn erase(&self, of: Of) -> Result<()> {
        let database = self.days.of(day(of.start_ms))?;
        let mut write = database.begin_write().map_err(failed)?;
        write.set_durability(Durability::Immediate).map_err(failed)?;
        {
            let mut table = write.open_table(TABLE).map_err(failed)?;
            let (from, end) = (chunk_key(of, 0), chunk_key(of, u32::MAX));
            table.retain_in(&*from..&*end, |_, _| false).map_err(failed)?;
            table.remove(&*session_key(of)).map_err(failed)?;
        }
        write.commit().map_err(failed)?;
        drop(database);
        self.days.write_again(of.day())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
