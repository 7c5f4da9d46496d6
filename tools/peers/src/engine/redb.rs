//! redb: a file for each day, because a table that is deleted leaves its pages in the file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::redb::{Database, Durability, ReadableDatabase, TableDefinition};
use parking_lot::Mutex;

use super::gather::Gather;
use super::rows::{Put, Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup, day};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

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
    let cache_bytes = setup.cache_bytes;
    let days = Arc::new(Days { dir: setup.dir.clone(), cache_bytes, open: Mutex::default() });
    for day in setup.days.clone().filter(|day| days.path(*day).exists()) {
        days.of(day)?;
    }
    let same = Arc::clone(&days);
    let gather = Gather::new(move |puts| same.commit(puts));
    Ok(Redb { rows: Rows::new(setup.sealer()), gather, days })
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
        let made = Database::builder().set_cache_size(self.cache_bytes).create(self.path(day));
        let database = Arc::new(made.map_err(failed)?);
        let begin = database.begin_write().map_err(failed)?;
        begin.open_table(TABLE).map_err(failed)?;
        begin.commit().map_err(failed)?;
        open.insert(day, Arc::clone(&database));
        Ok(database)
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
            to(&self.rows.chunk(of, key.value(), value.value().to_vec())?.events()?);
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
        // What was deleted stands in freed pages until the file is made smaller.
        drop(database);
        let mut open = self.days.open.lock();
        let database = open.remove(&of.day()).ok_or(PeerError::Harness("a day"))?;
        match Arc::try_unwrap(database) {
            Ok(mut database) => database.compact().map(drop).map_err(failed),
            Err(_) => Err(PeerError::Harness("a day that is in use can't be compacted")),
        }
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
