//! RocksDB: a column family for each day, large values in blob files, its own group commit of concurrent threads with `sync`.

use std::path::Path;

use ::rocksdb::backup::{BackupEngine, BackupEngineOptions, RestoreOptions};
use ::rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    Direction, Env, IteratorMode, Options, ReadOptions, WaitForCompactOptions, WriteBatch,
    WriteOptions,
};

use super::rows::{Rows, chunk_key, session_from, session_key};
use super::{DAY_MS, Engine, Of, Setup, Track};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// Values from here on lie in blob files, as the manual has it for large ones.
const BLOB_BYTES_MIN: u64 = 1_024;
/// The share of blob files, the oldest first, out of which a compaction takes what still counts; and that while a session is erased.
const COLLECTED: &str = "blob_garbage_collection_age_cutoff";
const COLLECTED_BY_DEFAULT: &str = "0.25";
const COLLECTED_ERASING: &str = "1.0";

pub(super) struct Rocks {
    rows: Rows,
    db: DB,
    options: Options,
}

fn failed(e: ::rocksdb::Error) -> PeerError {
    PeerError::Peer(e.into_string())
}

pub(super) fn open(setup: &Setup) -> Result<Rocks> {
    let mut options = Options::default();
    options.create_if_missing(true);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    options.increase_parallelism(cores as i32);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(1 << 20);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_enable_blob_gc(true);
    // The manual has LZ4 where rows change often and zstd where most of them lie. All that is large lies in blob files: of the upper levels nothing is
    // worth a second library. What is sealed can't be compressed.
    let (upper, lower) = match setup.track {
        Track::EqualSecurity => (DBCompressionType::None, DBCompressionType::None),
        Track::Native => (DBCompressionType::None, DBCompressionType::Zstd),
    };
    options.set_compression_type(upper);
    options.set_bottommost_compression_type(lower);
    options.set_blob_compression_type(lower);
    // One cache for blocks and blobs, which would have none otherwise.
    let cache = Cache::new_lru_cache(setup.cache_bytes);
    options.set_blob_cache(&cache);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    options.set_block_based_table_factory(&table);
    // So that it works with as much memory as the others.
    options.set_db_write_buffer_size(setup.cache_bytes);
    let families = DB::list_cf(&options, &setup.dir).unwrap_or_else(|_| vec!["default".to_owned()]);
    let families = families.into_iter().map(|name| (name, options.clone()));
    let db = DB::open_cf_with_opts(&options, &setup.dir, families).map_err(failed)?;
    for day in setup.days.clone() {
        if db.cf_handle(&day.to_string()).is_none() {
            db.create_cf(day.to_string(), &options).map_err(failed)?;
        }
    }
    Ok(Rocks { rows: Rows::new(setup.sealer()?), db, options })
}

/// Its backup engine, with as many threads as there are processors.
fn backups(dir: &Path) -> Result<BackupEngine> {
    let mut options = BackupEngineOptions::new(dir).map_err(failed)?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    options.set_max_background_operations(cores as i32);
    BackupEngine::open(&options, &Env::new().map_err(failed)?).map_err(failed)
}

pub(super) fn restore(backup: &Path, to: &Path) -> Result<()> {
    backups(backup)?.restore_from_latest_backup(to, to, &RestoreOptions::default()).map_err(failed)
}

impl Rocks {
    fn family(&self, day: u32) -> Result<std::sync::Arc<::rocksdb::BoundColumnFamily<'_>>> {
        self.db.cf_handle(&day.to_string()).ok_or(PeerError::NotThere)
    }

    fn get(&self, of: Of, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(&self.family(of.day())?, key).map_err(failed)
    }
}

impl Engine for Rocks {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let bytes = put.bytes();
        let family = self.family(row.of.day())?;
        let mut batch = WriteBatch::default();
        batch.put_cf(&family, put.chunk, put.chunk_value);
        batch.put_cf(&family, put.session, put.session_value);
        let mut how = WriteOptions::default();
        how.set_sync(true);
        self.db.write_opt(batch, &how).map_err(failed)?;
        Ok(bytes)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut how = ReadOptions::default();
        how.set_iterate_upper_bound(chunk_key(of, u32::MAX));
        let from = chunk_key(of, 0);
        let mode = IteratorMode::From(&from, Direction::Forward);
        for entry in self.db.iterator_cf_opt(&self.family(of.day())?, how, mode) {
            let (key, value) = entry.map_err(failed)?;
            self.rows.chunk(of, &key, value.into_vec())?.play(to)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.rows.seek(of, (ms, until_ms), &mut |key| self.get(of, key), to)
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let start = u64::from(day) * DAY_MS;
        let mut how = ReadOptions::default();
        how.set_iterate_lower_bound(session_from(site, start));
        let end = session_from(site, start + DAY_MS);
        how.set_iterate_upper_bound(end);
        let newest = self.db.iterator_cf_opt(&self.family(day)?, how, IteratorMode::End);
        newest
            .take(limit)
            .map(|entry| {
                let (key, value) = entry.map_err(failed)?;
                self.rows.named(site, &key, value.into_vec())
            })
            .collect()
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        self.db.drop_cf(&day.to_string()).map_err(failed)
    }

    fn erase(&self, of: Of) -> Result<()> {
        let family = self.family(of.day())?;
        let (from, end) = (chunk_key(of, 0), chunk_key(of, u32::MAX));
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(&family, &from, &end);
        batch.delete_cf(&family, session_key(of));
        let mut durably = WriteOptions::default();
        durably.set_sync(true);
        self.db.write_opt(batch, &durably).map_err(failed)?;
        // What was deleted is on the disk until it is written again without it: a blob file goes when none of the day's tables points into it.
        self.db.flush_cf(&family).map_err(failed)?;
        self.db.set_options_cf(&family, &[(COLLECTED, COLLECTED_ERASING)]).map_err(failed)?;
        let mut how = CompactOptions::default();
        how.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(&family, None::<&[u8]>, None::<&[u8]>, &how);
        self.db.set_options_cf(&family, &[(COLLECTED, COLLECTED_BY_DEFAULT)]).map_err(failed)
    }

    fn back_up(&self, to: &Path) -> Result<()> {
        backups(to)?.create_new_backup_flush(&self.db, true).map_err(failed)
    }

    fn settle(&self) -> Result<()> {
        for name in DB::list_cf(&self.options, self.db.path()).map_err(failed)? {
            if let Some(family) = self.db.cf_handle(&name) {
                self.db.flush_cf(&family).map_err(failed)?;
            }
        }
        self.db.wait_for_compact(&WaitForCompactOptions::default()).map_err(failed)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}
