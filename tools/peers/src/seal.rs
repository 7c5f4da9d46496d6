//! What the harness does for peers that can't: compressing with zstd and sealing with AES-256-GCM under a key of the site.
//!
//! It is no worse than what a careful team writes by hand. Keys are kept for each site, and what names a row is bound to it. As many threads
//! compress at once as there are processors, and one more, in the order in which they came: 256 contexts and buffers would be counted as the peer's
//! memory, and their turns as its tail.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use parking_lot::{FairMutex, Mutex, RwLock};
use rustix::rand::{GetRandomFlags, getrandom};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::{PeerError, Result};

pub(crate) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Largest chunk in bytes: the engine's own limit.
const CHUNK_BYTES_MAX: usize = 16 << 20;

pub(crate) struct Sealer {
    /// Whether the peer seals by itself, and this only compresses.
    only_packs: bool,
    packers: Packers,
    keys: RwLock<HashMap<u32, Arc<LessSafeKey>>>,
    /// A random beginning, counted up: no nonce comes twice in a process, and of two processes hardly.
    nonces: AtomicU64,
    process: [u8; 4],
}

/// Contexts for compressing, for which threads wait. Whoever holds the lock has waited longest, and gets the next one that comes back.
struct Packers {
    next: FairMutex<Receiver<Packer>>,
    back: Sender<Packer>,
}

/// A context, and what it compressed last: the buffer is used again, and not cleared.
struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

/// The same for reading, one for each thread.
struct Unpacker {
    decompressor: Decompressor<'static>,
    text: Vec<u8>,
}

thread_local! {
    static UNPACKER: Cell<Option<Unpacker>> = const { Cell::new(None) };
}

/// The same in every process, so that what one has written another reads. A real team would keep it in a vault.
const MASTER: [u8; 32] = [0x5a; 32];

/// Nonces of the rows that are opened, while somebody wants to know them.
static OPENED: Mutex<Option<HashSet<[u8; NONCE_BYTES]>>> = Mutex::new(None);
static TOLD: AtomicBool = AtomicBool::new(false);

/// The nonces of all rows that are opened by some work: by them a row is found again, wherever it stands.
pub(crate) fn opened_by(work: impl FnOnce() -> Result<()>) -> Result<HashSet<[u8; NONCE_BYTES]>> {
    *OPENED.lock() = Some(HashSet::new());
    TOLD.store(true, Relaxed);
    let done = work();
    TOLD.store(false, Relaxed);
    let opened = OPENED.lock().take().unwrap_or_default();
    done.map(|()| opened)
}

impl Packers {
    fn new(level: i32) -> Result<Self> {
        let (back, next) = channel();
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..=processors {
            let compressor = Compressor::new(level).map_err(|_| failed("making a context"))?;
            let packer = Packer { compressor, packed: Vec::new() };
            back.send(packer).map_err(|_| failed("keeping a context"))?;
        }
        Ok(Self { next: FairMutex::new(next), back })
    }

    /// Compresses a body, and lets somebody look at what came of it.
    fn pack<T>(&self, body: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let next = self.next.lock().recv();
        let mut packer = next.map_err(|_| failed("waiting for a context"))?;
        packer.packed.clear();
        packer.packed.reserve(zstd_safe::compress_bound(body.len()));
        let done = packer.compressor.compress_to_buffer(body, &mut packer.packed);
        let answer = done.map(|_| look(&packer.packed)).map_err(|_| failed("compressing"));
        self.back.send(packer).map_err(|_| failed("keeping a context"))?;
        answer
    }
}

fn failed(doing: &'static str) -> PeerError {
    PeerError::Harness(doing)
}

impl Sealer {
    pub(crate) fn new(level: i32) -> Result<Self> {
        // From the kernel: a library's own generator gathers noise for tens of milliseconds first, in the time that opening takes.
        let mut random = [0; 12];
        match getrandom(&mut random, GetRandomFlags::empty()) {
            Ok(bytes) if bytes == random.len() => {}
            _ => return Err(failed("random bytes")),
        }
        let [process @ .., a, b, c, d, e, f, g, h] = random;
        let nonces = AtomicU64::new(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        let packers = Packers::new(level)?;
        Ok(Self { only_packs: false, packers, keys: RwLock::default(), nonces, process })
    }

    /// For a peer that seals by itself, and does not compress.
    pub(crate) fn only_packing(self) -> Self {
        Self { only_packs: true, ..self }
    }

    fn key(&self, site: u32) -> Result<Arc<LessSafeKey>> {
        if let Some(key) = self.keys.read().get(&site) {
            return Ok(Arc::clone(key));
        }
        let failed = |_| failed("deriving a key");
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
            return self.packed(&[], header, body);
        }
        let key = self.key(site)?;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&self.process);
        nonce[4..].copy_from_slice(&self.nonces.fetch_add(1, Relaxed).to_le_bytes());
        let mut out = self.packed(&nonce, header, body)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(name), &mut out[NONCE_BYTES..]);
        out.extend_from_slice(tag.map_err(|_| failed("sealing"))?.as_ref());
        Ok(out)
    }

    /// Both beginnings and behind them the compressed body, with room for a tag.
    fn packed(&self, nonce: &[u8], header: &[u8], body: &[u8]) -> Result<Vec<u8>> {
        let join = |packed: &[u8]| {
            let parts = [nonce, header, packed];
            let bytes = parts.iter().map(|part| part.len()).sum::<usize>() + TAG_BYTES;
            let mut out = Vec::with_capacity(bytes);
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out
        };
        // A session's row has none, and waits for nobody.
        if body.is_empty() { Ok(join(body)) } else { self.packers.pack(body, join) }
    }

    /// Opens it in place: where the header and the body stand now. Nothing was decompressed.
    pub(crate) fn open(&self, site: u32, name: &[u8], sealed: &mut [u8]) -> Result<Range<usize>> {
        if self.only_packs {
            return Ok(0..sealed.len());
        }
        let (nonce, text) = sealed.split_first_chunk_mut().ok_or(failed("length"))?;
        if TOLD.load(Relaxed)
            && let Some(opened) = &mut *OPENED.lock()
        {
            opened.insert(*nonce);
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.key(site)?.open_in_place(nonce, Aad::from(name), text);
        let bytes = text.map_err(|_| failed("opening"))?.len();
        Ok(NONCE_BYTES..NONCE_BYTES + bytes)
    }
}

/// Decompresses a body, and lets somebody look at it.
pub(crate) fn unpack<T>(body: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<T> {
    if body.is_empty() {
        return Ok(look(body));
    }
    let mut unpacker = match UNPACKER.take() {
        Some(unpacker) => unpacker,
        None => {
            let decompressor = Decompressor::new().map_err(|_| failed("making a context"))?;
            Unpacker { decompressor, text: Vec::new() }
        }
    };
    let size = zstd_safe::get_frame_content_size(body).ok().flatten();
    let size = size.map(|size| size as usize).filter(|size| *size <= CHUNK_BYTES_MAX);
    unpacker.text.clear();
    unpacker.text.reserve(size.ok_or(failed("a body's length"))?);
    let done = unpacker.decompressor.decompress_to_buffer(body, &mut unpacker.text);
    let answer = done.map(|_| look(&unpacker.text)).map_err(|_| failed("decompressing"));
    UNPACKER.set(Some(unpacker));
    answer
}
