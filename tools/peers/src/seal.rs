//! What the harness does for peers that can't: compressing with zstd and sealing with AES-256-GCM under a key of the site.
//!
//! It is no worse than what a careful team writes by hand: contexts are kept for each thread, keys for each site, and what names a row
//! is bound to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use parking_lot::RwLock;
use zstd::bulk::{Compressor, Decompressor};

use crate::{PeerError, Result};

/// As the peers' manuals have it: the level of a balance between speed and size.
const LEVEL: i32 = 3;
const NONCE_BYTES: usize = 12;
/// Largest chunk in bytes: the engine's own limit.
const CHUNK_BYTES_MAX: usize = 16 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(crate) struct Sealer {
    /// Whether the peer seals by itself, and this only compresses.
    only_packs: bool,
    level: i32,
    keys: RwLock<HashMap<u32, Arc<LessSafeKey>>>,
    /// A random beginning, counted up: no nonce comes twice in a process, and of two processes hardly.
    nonces: AtomicU64,
    process: [u8; 4],
}

/// The same in every process, so that what one has written another reads. A real team would keep it in a vault.
const MASTER: [u8; 32] = [0x5a; 32];

impl Sealer {
    pub(crate) fn new() -> Self {
        let mut process = [0; 4];
        let mut start = [0; 8];
        for bytes in [&mut process[..], &mut start[..]] {
            // Without randomness the figures would be the same; the data is nobody's.
            let _ = aws_lc_rs::rand::fill(bytes);
        }
        let nonces = AtomicU64::new(u64::from_le_bytes(start));
        Self { only_packs: false, level: LEVEL, keys: RwLock::default(), nonces, process }
    }

    /// For a peer that seals by itself, and does not compress.
    pub(crate) fn only_packing(self) -> Self {
        Self { only_packs: true, ..self }
    }

    /// With another level of zstd.
    pub(crate) fn at_level(self, level: i32) -> Self {
        Self { level, ..self }
    }

    fn key(&self, site: u32) -> Result<Arc<LessSafeKey>> {
        if let Some(key) = self.keys.read().get(&site) {
            return Ok(Arc::clone(key));
        }
        let failed = |_| PeerError::Harness("deriving a key");
        let site_bytes = site.to_le_bytes();
        let info = [&site_bytes[..]];
        let mut bytes = [0; 32];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"peers");
        let key = salt.extract(&MASTER);
        let okm = key.expand(&info, hkdf::HKDF_SHA256).map_err(failed)?;
        okm.fill(&mut bytes).map_err(failed)?;
        let key =
            Arc::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).map_err(failed)?));
        self.keys.write().insert(site, Arc::clone(&key));
        Ok(key)
    }

    /// Nonce, then header and compressed body, sealed; `name` is bound to it.
    pub(crate) fn seal(
        &self,
        site: u32,
        name: &[u8],
        header: &[u8],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        if self.only_packs {
            let mut out = header.to_vec();
            out.resize(header.len() + zstd::zstd_safe::compress_bound(body.len()), 0);
            let packed = with(
                &COMPRESSOR,
                || Compressor::new(self.level),
                |c| c.compress_to_buffer(body, &mut out[header.len()..]),
            )?;
            out.truncate(header.len() + packed);
            return Ok(out);
        }
        let key = self.key(site)?;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.process);
        nonce[4..].copy_from_slice(&self.nonces.fetch_add(1, Relaxed).to_le_bytes());
        let from = NONCE_BYTES + header.len();
        let mut out = vec![0; from + zstd::zstd_safe::compress_bound(body.len())];
        out[..NONCE_BYTES].copy_from_slice(&nonce);
        out[NONCE_BYTES..from].copy_from_slice(header);
        let packed = with(
            &COMPRESSOR,
            || Compressor::new(self.level),
            |c| c.compress_to_buffer(body, &mut out[from..]),
        )?;
        out.truncate(from + packed);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(name), &mut out[NONCE_BYTES..]);
        out.extend_from_slice(tag.map_err(|_| PeerError::Harness("sealing"))?.as_ref());
        Ok(out)
    }

    /// Opens it in place: where the header and the body stand now. Nothing was decompressed.
    pub(crate) fn open(&self, site: u32, name: &[u8], sealed: &mut [u8]) -> Result<Range<usize>> {
        if self.only_packs {
            return Ok(0..sealed.len());
        }
        let (nonce, text) =
            sealed.split_at_mut_checked(NONCE_BYTES).ok_or(PeerError::Harness("length"))?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| PeerError::Harness("nonce"))?;
        let text = self.key(site)?.open_in_place(nonce, Aad::from(name), text);
        let bytes = text.map_err(|_| PeerError::Harness("opening"))?.len();
        Ok(NONCE_BYTES..NONCE_BYTES + bytes)
    }
}

/// Decompresses a body.
pub(crate) fn unpack(body: &[u8]) -> Result<Vec<u8>> {
    with(&DECOMPRESSOR, Decompressor::new, |d| d.decompress(body, CHUNK_BYTES_MAX))
}

fn with<C, T>(
    kept: &'static std::thread::LocalKey<RefCell<Option<C>>>,
    make: impl FnOnce() -> std::io::Result<C>,
    work: impl FnOnce(&mut C) -> std::io::Result<T>,
) -> Result<T> {
    let failed = |_| PeerError::Harness("compressing");
    kept.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(make().map_err(failed)?),
        };
        work(context).map_err(failed)
    })
}
