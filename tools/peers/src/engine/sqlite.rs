//! SQLite and SQLCipher: write-ahead log, synchronous=FULL, pages of 16 KiB, one transaction for all that wait.
//!
//! A database for each day, because a table that is dropped leaves its pages in the file; SQLCipher, which has one key for each database, has one for
//! each day and site.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::gather::Gather;
use super::rows::{Put, Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// A connection's cache is no smaller than SQLite's own default, however many files there are.
const CACHE_BYTES_MIN: usize = 2_000 << 10;

/// A database: its day, and its site if it is encrypted.
type Place = (u32, u32);

pub(super) struct Sqlite {
    rows: Rows,
    gather: Gather,
    files: Arc<Databases>,
    /// Those for reading.
    readers: Mutex<HashMap<Place, Arc<Mutex<Connection>>>>,
}

/// Where databases are, and the connections that write.
struct Databases {
    dir: PathBuf,
    /// Of each connection. Those that write and those that read are hardly in use at once: the files share what there is.
    cache_bytes: usize,
    encrypted: bool,
    writers: Mutex<HashMap<Place, Connection>>,
}

fn failed(e: rusqlite::Error) -> PeerError {
    PeerError::Peer(e.to_string())
}

pub(super) fn open(setup: &Setup, encrypted: bool) -> Result<Sqlite> {
    let sites = if encrypted { 0..setup.sites } else { 0..1 };
    let files = Arc::new(Databases {
        dir: setup.dir.clone(),
        cache_bytes: setup.cache_of(setup.days.len() * sites.len(), CACHE_BYTES_MIN),
        encrypted,
        writers: Mutex::default(),
    });
    let same = Arc::clone(&files);
    let gather = Gather::new(move |puts| same.commit(puts));
    // What SQLCipher seals need not be sealed before; the harness compresses for it all the same.
    let sealer = setup.sealer()?;
    let rows =
        Rows::new(sealer.map(|sealer| if encrypted { sealer.only_packing() } else { sealer }));
    let sqlite = Sqlite { rows, gather, files, readers: Mutex::default() };
    for day in setup.days.clone() {
        for place in sites.clone().map(|site| (day, site)) {
            if sqlite.files.path(place).exists() {
                sqlite.reader(place)?;
            }
        }
    }
    Ok(sqlite)
}

impl Databases {
    /// One for each day, and for each site if it is encrypted.
    fn place(&self, of: Of) -> Place {
        (of.day(), if self.encrypted { of.site } else { 0 })
    }

    fn path(&self, (day, site): Place) -> PathBuf {
        self.dir.join(format!("{day}-{site}.sqlite"))
    }

    fn connect(&self, place: Place) -> Result<Connection> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(self.path(place))?;
            if self.encrypted {
                let key = format!("x'{:064x}'", 0x5a5a_0000_u64 + u64::from(place.1));
                connection.pragma_update(None, "key", key)?;
                connection.pragma_update(None, "cipher_page_size", 16_384)?;
            } else {
                connection.pragma_update(None, "page_size", 16_384)?;
            }
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            let kib = -(self.cache_bytes as i64 / 1024);
            connection.pragma_update(None, "cache_size", kib)?;
            // With rowids, as the manual has it for rows that are large.
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS rows (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL)",
            )?;
            Ok(connection)
        };
        connect().map_err(failed)
    }

    fn commit(&self, puts: &[Put]) -> Result<()> {
        let mut by_place: HashMap<Place, Vec<&Put>> = HashMap::new();
        for put in puts {
            by_place.entry(self.place(put.of)).or_default().push(put);
        }
        for (place, puts) in by_place {
            self.with_writer(place, |writer| write(writer, &puts))?;
        }
        Ok(())
    }

    /// Does something with the connection that writes there.
    fn with_writer(
        &self,
        place: Place,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let mut writers = self.writers.lock();
        let writer = match writers.entry(place) {
            Entry::Occupied(writer) => writer.into_mut(),
            Entry::Vacant(none) => none.insert(self.connect(place)?),
        };
        work(writer).map_err(failed)
    }
}

fn write(writer: &mut Connection, puts: &[&Put]) -> rusqlite::Result<()> {
    let transaction = writer.transaction()?;
    {
        let sql = "INSERT INTO rows VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let mut insert = transaction.prepare_cached(sql)?;
        for put in puts {
            insert.execute(params![put.chunk, put.chunk_value])?;
            insert.execute(params![put.session, put.session_value])?;
        }
    }
    transaction.commit()
}

/// Brings all of the log into the database, and empties it.
fn checkpoint(writer: &Connection) -> rusqlite::Result<()> {
    let busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    let is_busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    if busy { Err(rusqlite::Error::SqliteFailure(is_busy, None)) } else { Ok(()) }
}

impl Sqlite {
    fn reader(&self, place: Place) -> Result<Arc<Mutex<Connection>>> {
        let mut readers = self.readers.lock();
        if let Some(reader) = readers.get(&place) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(Mutex::new(self.files.connect(place)?));
        readers.insert(place, Arc::clone(&reader));
        Ok(reader)
    }

    fn get(&self, of: Of, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let reader = self.reader(self.files.place(of))?;
        let reader = reader.lock();
        let mut select =
            reader.prepare_cached("SELECT value FROM rows WHERE key = ?1").map_err(failed)?;
        select.query_row([key], |row| row.get(0)).optional().map_err(failed)
    }

    /// Closes what is open of a day.
    fn forget(&self, day: u32) {
        self.readers.lock().retain(|place, _| place.0 != day);
        self.files.writers.lock().retain(|place, _| place.0 != day);
    }
}

impl Engine for Sqlite {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let bytes = put.bytes();
        self.gather.append(put)?;
        Ok(bytes)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let reader = self.reader(self.files.place(of))?;
        let reader = reader.lock();
        let sql = "SELECT key, value FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key";
        let mut select = reader.prepare_cached(sql).map_err(failed)?;
        let mut found =
            select.query(params![chunk_key(of, 0), chunk_key(of, u32::MAX)]).map_err(failed)?;
        while let Some(row) = found.next().map_err(failed)? {
            let (key, value): (Vec<u8>, Vec<u8>) =
                (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            self.rows.chunk(of, &key, value)?.play(to)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.rows.seek(of, (ms, until_ms), &mut |key| self.get(of, key), to)
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let start = u64::from(day) * DAY_MS;
        let reader = self.reader((day, if self.files.encrypted { site } else { 0 }))?;
        let reader = reader.lock();
        let sql =
            "SELECT key, value FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3";
        let mut select = reader.prepare_cached(sql).map_err(failed)?;
        let (from, end) = (session_from(site, start), session_from(site, start + DAY_MS));
        let mut found = select.query(params![from, end, limit as i64]).map_err(failed)?;
        let mut named = Vec::new();
        while let Some(row) = found.next().map_err(failed)? {
            let (key, value): (Vec<u8>, Vec<u8>) =
                (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            named.push(self.rows.named(site, &key, value)?);
        }
        Ok(named)
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        self.forget(day);
        super::remove_of_day(&self.files.dir, day)
    }

    fn erase(&self, of: Of) -> Result<()> {
        self.files.with_writer(self.files.place(of), |writer| {
            let transaction = writer.transaction()?;
            transaction.execute(
                "DELETE FROM rows WHERE key >= ?1 AND key < ?2",
                params![chunk_key(of, 0), chunk_key(of, u32::MAX)],
            )?;
            transaction.execute("DELETE FROM rows WHERE key = ?1", [session_key(of)])?;
            transaction.commit()?;
            // What was deleted stands in free pages and in the gaps of others: the manual has this to clean a file of all traces.
            writer.execute_batch("VACUUM")?;
            checkpoint(writer)
        })
    }

    fn settle(&self) -> Result<()> {
        self.files.writers.lock().values().try_for_each(|writer| checkpoint(writer).map_err(failed))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self { gather, files, readers, .. } = *self;
        drop((gather, readers));
        let mut writers = files.writers.lock();
        writers.drain().try_for_each(|(_, writer)| writer.close().map_err(|(_, e)| failed(e)))
    }
}
