//! What the machine can do at best: the same work in bare loops, without an engine.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use parking_lot::Mutex;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::{BenchError, Result};

const TAG_BYTES: usize = 16;

/// A key of the library that the command's engine uses, too.
pub(crate) fn cipher() -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]);
    key.map(LessSafeKey::new).map_err(|_| BenchError::Child("a key"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; 12])
}

/// A compressor as the engine uses it for chunks (`blocks` false) or for blocks.
pub(crate) fn compressor(level: i32, blocks: bool) -> std::io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    if blocks {
        compressor.set_parameter(CParameter::WindowLog(23))?;
    }
    Ok(compressor)
}

/// Compresses and seals into `out`, which is emptied first.
pub(crate) fn pack(
    raw: &[u8],
    compressor: &mut Compressor<'_>,
    cipher: &LessSafeKey,
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(raw.len()) + TAG_BYTES);
    compressor.compress_to_buffer(raw, out)?;
    cipher
        .seal_in_place_append_tag(nonce(), Aad::empty(), out)
        .map_err(|_| std::io::Error::other("sealing"))
}

/// Decrypts `sealed` in place and decompresses it into `raw`, which is emptied first.
pub(crate) fn unpack(
    sealed: &mut [u8],
    raw_bytes: usize,
    decompressor: &mut Decompressor<'_>,
    cipher: &LessSafeKey,
    raw: &mut Vec<u8>,
) -> std::io::Result<()> {
    let text = cipher.open_in_place(nonce(), Aad::empty(), sealed);
    let text = text.map_err(|_| std::io::Error::other("opening"))?;
    raw.clear();
    raw.reserve(raw_bytes);
    decompressor.decompress_to_buffer(text, raw)?;
    Ok(())
}

/// A file that is filled with zeros and written over from its beginning, in groups.
struct Target {
    file: File,
    state: Mutex<(Vec<u8>, usize)>,
    writing: Mutex<u64>,
}

const TARGET_BYTES: u64 = 64 << 20;

/// The same chunks compressed, sealed, written and synced in groups of `group` by a bare loop on `threads` threads and
/// `files` files. Returns seconds.
///
/// # Errors
/// Errors of the system.
pub fn ingest(
    dir: &Path,
    work: &[(usize, &[u8])],
    threads: usize,
    files: usize,
    group: usize,
    level: i32,
) -> Result<f64> {
    let failed = |e| BenchError::Io(dir.to_owned(), e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let zeros = vec![0u8; 1 << 20];
    let targets = (0..files)
        .map(|n| {
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .open(dir.join(format!("{n}")))?;
            for at in (0..TARGET_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
            file.sync_data()?;
            Ok(Target { file, state: Mutex::default(), writing: Mutex::new(0) })
        })
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    let next = AtomicUsize::new(0);
    let targets = Arc::new(targets);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| worker(work, &next, &targets, group, level)))
            .collect();
        workers.into_iter().try_for_each(|w| match w.join() {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => Err(BenchError::Child("worker")),
        })
    })?;
    Ok(start.elapsed().as_secs_f64())
}

fn worker(
    work: &[(usize, &[u8])],
    next: &AtomicUsize,
    targets: &[Target],
    group: usize,
    level: i32,
) -> std::io::Result<()> {
    let mut compressor = compressor(level, false)?;
    let cipher = cipher().map_err(std::io::Error::other)?;
    let mut packed = Vec::new();
    while let Some((site, raw)) = work.get(next.fetch_add(1, Relaxed)) {
        pack(raw, &mut compressor, &cipher, &mut packed)?;
        let target = &targets[site % targets.len()];
        let mut state = target.state.lock();
        state.0.extend_from_slice(&packed);
        state.1 += 1;
        if state.1 < group {
            continue;
        }
        let (batch, _) = std::mem::take(&mut *state);
        drop(state);
        let mut at = target.writing.lock();
        if *at + batch.len() as u64 > TARGET_BYTES {
            *at = 0;
        }
        target.file.write_all_at(&batch, *at)?;
        target.file.sync_data()?;
        *at += batch.len() as u64;
    }
    Ok(())
}
