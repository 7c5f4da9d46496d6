//! Rows as the peers keep them: keys that sort as they are read, and values, sealed or not.
//!
//! Chunk: `day | site | session | seq`. Session: `site | start | session`, the newest row replacing the one before. All in big-endian numbers. The
//! value of a chunk begins with what jumping to a time needs, so that no peer has to guess where.

use std::ops::Range;

use super::Of;
use crate::seal::{self, Sealer};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

const CHUNK: u8 = b'c';
const SESSION: u8 = b's';
const HEADER_BYTES: usize = 28;

/// What one append puts, in one batch.
pub(super) struct Put {
    pub(super) of: Of,
    pub(super) chunk: Vec<u8>,
    pub(super) chunk_value: Vec<u8>,
    pub(super) session: Vec<u8>,
    pub(super) session_value: Vec<u8>,
}

impl Put {
    /// What the peer is given, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let parts = [&self.chunk, &self.chunk_value, &self.session, &self.session_value];
        parts.iter().map(|part| part.len() as u64).sum()
    }
}

/// Answers the value of a key, if there is one.
pub(super) type Get<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>>;

/// Makes rows of what is appended, and the other way round.
pub(super) struct Rows {
    sealer: Option<Sealer>,
}

/// A chunk as it was read: its header, and the events.
pub(super) struct Chunk {
    first_ms: u64,
    /// See [`Row`].
    snapshot_ms: u64,
    before_seq: u32,
    value: Vec<u8>,
    /// Where the events stand in the value.
    body: Range<usize>,
    packed: bool,
}

/// The key of a chunk.
pub(super) fn chunk_key(of: Of, seq: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(21);
    key.push(CHUNK);
    key.extend_from_slice(&of.day().to_be_bytes());
    key.extend_from_slice(&of.site.to_be_bytes());
    key.extend_from_slice(&of.session.to_be_bytes());
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The key of a session's row.
pub(super) fn session_key(of: Of) -> Vec<u8> {
    let mut key = session_from(of.site, of.start_ms);
    key.extend_from_slice(&of.session.to_be_bytes());
    key
}

/// Where the sessions of a site begin that started at or after a time.
pub(super) fn session_from(site: u32, start_ms: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(21);
    key.push(SESSION);
    key.extend_from_slice(&site.to_be_bytes());
    key.extend_from_slice(&start_ms.to_be_bytes());
    key
}

/// The number of a chunk, by its key.
pub(super) fn seq_of(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|seq| u32::from_be_bytes(*seq))
}

impl Rows {
    pub(super) fn new(sealer: Option<Sealer>) -> Self {
        Self { sealer }
    }

    pub(super) fn put(&self, row: &Row<'_>) -> Result<Put> {
        let of = row.of;
        let (chunk, session) = (chunk_key(of, row.seq), session_key(of));
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&row.first_ms.to_le_bytes());
        header[8..16].copy_from_slice(&row.last_ms.to_le_bytes());
        header[16..24].copy_from_slice(&row.snapshot_ms.to_le_bytes());
        header[24..].copy_from_slice(&row.before_seq.to_le_bytes());
        let named = row.named.to_bytes();
        let (chunk_value, session_value) = match &self.sealer {
            Some(sealer) => (
                sealer.seal(of.site, &chunk, &header, row.events)?,
                sealer.seal(of.site, &session, &named, b"")?,
            ),
            None => ([&header[..], row.events].concat(), named),
        };
        Ok(Put { of, chunk, chunk_value, session, session_value })
    }

    /// What stands in a chunk's row.
    pub(super) fn chunk(&self, of: Of, key: &[u8], mut value: Vec<u8>) -> Result<Chunk> {
        let text = self.open(of.site, key, &mut value)?;
        let numbers = value.get(text.clone()).and_then(numbers);
        let (first_ms, snapshot_ms, before_seq) =
            numbers.ok_or(PeerError::Harness("a row's length"))?;
        Ok(Chunk {
            first_ms,
            snapshot_ms,
            before_seq,
            body: text.start + HEADER_BYTES..text.end,
            packed: self.sealer.is_some(),
            value,
        })
    }

    pub(super) fn named(&self, site: u32, key: &[u8], mut value: Vec<u8>) -> Result<Named> {
        let text = self.open(site, key, &mut value)?;
        value.get(text).and_then(Named::from_bytes).ok_or(PeerError::Harness("a session's row"))
    }

    /// Opens a value in place: where its text stands.
    fn open(&self, site: u32, key: &[u8], value: &mut [u8]) -> Result<Range<usize>> {
        match &self.sealer {
            Some(sealer) => sealer.open(site, key, value),
            None => Ok(0..value.len()),
        }
    }

    /// Goes through a session from the last full snapshot before `ms` to `until_ms`; its row tells how many chunks there are.
    pub(super) fn seek(
        &self,
        of: Of,
        times: (u64, u64),
        get: Get<'_>,
        to: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let key = session_key(of);
        let value = get(&key)?.ok_or(PeerError::NotThere)?;
        let chunks = self.named(of.site, &key, value)?.chunks;
        self.seek_among(of, times, chunks, get, to)
    }

    /// The same of so many chunks: finds the chunk of that time by halving, as its number follows from no time.
    pub(super) fn seek_among(
        &self,
        of: Of,
        (ms, until_ms): (u64, u64),
        chunks: u32,
        get: Get<'_>,
        to: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut read = |seq| {
            let key = chunk_key(of, seq);
            get(&key)?.map(|value| self.chunk(of, &key, value)).transpose()
        };
        let (mut low, mut high) = (0, chunks);
        let mut from = 0;
        while low < high {
            let middle = low + (high - low) / 2;
            match read(middle)? {
                Some(chunk) if chunk.first_ms <= ms => {
                    from = if chunk.snapshot_ms <= ms { middle } else { chunk.before_seq };
                    low = middle + 1;
                }
                _ => high = middle,
            }
        }
        for seq in from..chunks {
            let Some(chunk) = read(seq)? else { continue };
            if chunk.first_ms > until_ms {
                break;
            }
            chunk.play(to)?;
        }
        Ok(())
    }
}

/// Of a header: when the chunk begins, its first full snapshot, and where the one before it is.
fn numbers(header: &[u8]) -> Option<(u64, u64, u32)> {
    let time = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let before = header.get(24..HEADER_BYTES)?.first_chunk()?;
    Some((time(0)?, time(16)?, u32::from_le_bytes(*before)))
}

impl Chunk {
    /// Gives its events as they were appended.
    pub(super) fn play(&self, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let body = self.value.get(self.body.clone()).unwrap_or_default();
        if self.packed {
            seal::unpack(body, to)
        } else {
            to(body);
            Ok(())
        }
    }
}
