//! Frames: one chunk, compressed and sealed, in a journal. See *Frame* in the format document.

use super::codec::{Malformed, Put, Take};
use super::header::{Codec, UNIT_COMMON_BYTES, UnitKind, associated, check_suite, unsupported};
use super::identity::{IDENTITY_BYTES_MAX, SealedIdentity};
use crate::chunk::{Kind, Snapshot};
use crate::crypto::{Cipher, NONCE_BYTES, Nonce, Suite, TAG_BYTES};
use crate::error::{Damage, Error, Result};
use crate::ids::{FileId, SessionTag, SiteHandle, VisitorTag, expiry_day};
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, CHUNK_SNAPSHOTS_MAX, RETENTION_DAYS_MAX, SEQUENCE_MAX,
};

/// Where frames begin in a journal: a page of its own for the head.
pub(crate) const FRAMES_FROM: u32 = 4096;
/// Frames begin on multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
const LOCATOR_BYTES: usize = Locator::BYTES + TAG_BYTES;
const ENVELOPE_AT: usize = FRAME_HEADER_BYTES + LOCATOR_BYTES;
const _: () = assert!(FRAME_HEADER_BYTES == 4 + 4 + 4 + 4 + 4 + NONCE_BYTES + 4 + 4);
const _: () = assert!(ENVELOPE_AT == 76);

/// Largest sealed payload: an incompressible chunk grows by at most 1/256 and a header in zstd.
pub(crate) const PAYLOAD_BYTES_MAX: usize = CHUNK_BYTES_MAX + (CHUNK_BYTES_MAX >> 8) + 1024;
/// Largest sealed envelope: its identity and its snapshots at their widest.
pub(crate) const ENVELOPE_BYTES_MAX: usize = 256 + CHUNK_SNAPSHOTS_MAX * 15 + IDENTITY_BYTES_MAX;

/// What tells which keys open a frame: all that is known of it once its expiry day has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locator {
    pub(crate) site: SiteHandle,
    /// The first day on which the chunk's session is no longer kept.
    pub(crate) expiry_day: u32,
}

impl Locator {
    const BYTES: usize = 16 + 4;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.site.0);
        out.put_u32(self.expiry_day);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let site = SiteHandle(take.array("site handle")?);
        let expiry_day = take.u32("expiry day")?;
        take.end("locator")?;
        Ok(Self { site, expiry_day })
    }
}

/// What is known of a chunk without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) tag: SessionTag,
    pub(crate) visitor: VisitorTag,
    pub(crate) commitment: [u8; 32],
    pub(crate) attempt: u8,
    pub(crate) kind: Kind,
    /// The session's identity, in the first frame of a session in each journal.
    pub(crate) identity: Option<SealedIdentity>,
    pub(crate) retention_days: u32,
    pub(crate) start_ms: u64,
    pub(crate) seq: u32,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) events: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// The flag that says that an identity is present.
const FLAG_IDENTITY: u8 = 1;

impl Envelope {
    /// The first day on which the chunk's session is no longer kept.
    pub(crate) fn expiry_day(&self) -> u32 {
        expiry_day(self.start_ms, self.retention_days)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.tag.0);
        out.put(&self.visitor.0);
        out.put(&self.commitment);
        let flags = if self.identity.is_some() { FLAG_IDENTITY } else { 0 };
        out.put(&[self.attempt, self.kind as u8, flags]);
        out.put_varint(self.retention_days.into());
        out.put_varint(self.start_ms);
        out.put_varint(self.seq.into());
        out.put_varint(self.first_ms);
        out.put_varint(self.last_ms);
        out.put_varint(self.events.into());
        out.put_varint(self.raw_bytes.into());
        put_snapshots(&self.snapshots, self.first_ms, out);
        if let Some(identity) = &self.identity {
            identity.encode(out);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let tag = SessionTag(take.array("session tag")?);
        let visitor = VisitorTag(take.array("visitor tag")?);
        let commitment = take.array("key commitment")?;
        let attempt = take.u8("attempt")?;
        let kind = Kind::from_number(take.u8("kind")?).ok_or(Malformed("kind"))?;
        let flags = take.u8("flags")?;
        if flags & !FLAG_IDENTITY != 0 {
            return Err(Malformed("flags"));
        }
        let retention_days = take.varint_max(RETENTION_DAYS_MAX.into(), "retention class")? as u32;
        if retention_days == 0 {
            // Only segments of holds have none.
            return Err(Malformed("retention class"));
        }
        let start_ms = take.varint("session start")?;
        let seq = take.varint_max(SEQUENCE_MAX - 1, "sequence number")? as u32;
        let first_ms = take.varint("first event")?;
        let last_ms = take.varint("last event")?;
        let events = take.varint_max(CHUNK_EVENTS_MAX as u64, "events")? as u32;
        let raw_bytes = take.varint_max(CHUNK_BYTES_MAX as u64, "raw bytes")? as u32;
        let snapshots = take_snapshots(&mut take, first_ms)?;
        let identity = match flags {
            FLAG_IDENTITY => Some(SealedIdentity::decode(&mut take)?),
            _ => None,
        };
        take.end("envelope")?;
        if first_ms > last_ms {
            return Err(Malformed("last event"));
        }
        Ok(Self {
            tag,
            visitor,
            commitment,
            attempt,
            kind,
            identity,
            retention_days,
            start_ms,
            seq,
            first_ms,
            last_ms,
            events,
            raw_bytes,
            snapshots,
        })
    }
}

/// Snapshots as differences: offsets to the one before, times to the chunk's first event.
pub(crate) fn put_snapshots(snapshots: &[Snapshot], first_ms: u64, out: &mut Vec<u8>) {
    out.put_varint(snapshots.len() as u64);
    let mut before = 0;
    for s in snapshots {
        out.put_varint((s.offset - before).into());
        out.put_zigzag(s.ms.wrapping_sub(first_ms).cast_signed());
        before = s.offset;
    }
}

pub(crate) fn take_snapshots(
    take: &mut Take<'_>,
    first_ms: u64,
) -> Result<Vec<Snapshot>, Malformed> {
    let count = take.count(2, "snapshots")?;
    if count > CHUNK_SNAPSHOTS_MAX {
        return Err(Malformed("snapshots"));
    }
    let mut offset = 0u32;
    (0..count)
        .map(|_| {
            offset = offset
                .checked_add(take.varint_u32("snapshot offset")?)
                .filter(|&o| o as usize <= CHUNK_BYTES_MAX)
                .ok_or(Malformed("snapshot offset"))?;
            let ms = first_ms.wrapping_add_signed(take.zigzag("snapshot time")?);
            Ok(Snapshot { offset, ms })
        })
        .collect()
}

/// A frame ready to join a journal: all of it but the two fields that depend on where it will stand.
pub(crate) struct SealedFrame {
    /// Header, locator, envelope, payload and padding.
    bytes: Vec<u8>,
}

/// The keys of a frame's three seals.
pub(crate) struct FrameCiphers<'a> {
    pub(crate) journal: &'a Cipher,
    pub(crate) envelope: &'a Cipher,
    pub(crate) session: &'a Cipher,
}

impl SealedFrame {
    /// Bytes that a frame of this envelope and this packed content takes.
    pub(crate) fn bytes_of(envelope: &Envelope, packed_bytes: usize) -> usize {
        let mut plain = Vec::with_capacity(256);
        envelope.encode(&mut plain);
        (ENVELOPE_AT + plain.len() + packed_bytes + 2 * TAG_BYTES).next_multiple_of(FRAME_ALIGN)
    }

    /// Seals a chunk for the journal `journal`, all of it in the suite of the session's cipher. `packed` is its zstd frame.
    pub(crate) fn seal(
        journal: FileId,
        site: SiteHandle,
        envelope: &Envelope,
        packed: &[u8],
        ciphers: &FrameCiphers<'_>,
        nonce: &Nonce,
    ) -> Self {
        let suite = ciphers.session.suite();
        let common = UnitKind::FRAME.common(suite, Codec::Zstd);
        let mut plain = Vec::with_capacity(256);
        envelope.encode(&mut plain);
        let tags = 2 * TAG_BYTES + FRAME_ALIGN;
        let mut bytes = Vec::with_capacity(ENVELOPE_AT + plain.len() + packed.len() + tags);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Locator { site, expiry_day: envelope.expiry_day() }.encode(&mut bytes);
        let aad = associated(&common, &[&journal.0]);
        ciphers.journal.seal_in(suite, nonce, &aad, &mut bytes, FRAME_HEADER_BYTES);
        bytes.put(&plain);
        let aad = associated(&common, &[&journal.0, &site.0]);
        ciphers.envelope.seal_in(suite, nonce, &aad, &mut bytes, ENVELOPE_AT);
        let payload_at = bytes.len();
        bytes.put(packed);
        let aad = associated(&common, &[&site.0, &plain]);
        ciphers.session.seal_in(suite, nonce, &aad, &mut bytes, payload_at);
        let body_crc = crc32fast::hash(&bytes[FRAME_HEADER_BYTES..]);
        bytes[..8].copy_from_slice(&common);
        bytes[8..12].copy_from_slice(&((payload_at - ENVELOPE_AT) as u32).to_le_bytes());
        let payload_bytes = (bytes.len() - payload_at) as u32;
        bytes[12..16].copy_from_slice(&payload_bytes.to_le_bytes());
        bytes[20..32].copy_from_slice(nonce);
        bytes[32..36].copy_from_slice(&body_crc.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(FRAME_ALIGN), 0);
        Self { bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the fields that depend on the place, and appends the frame to `group`.
    pub(crate) fn join(mut self, journal: FileId, offset: u32, durable: u32, group: &mut Vec<u8>) {
        self.bytes[16..20].copy_from_slice(&durable.to_le_bytes());
        let crc = header_crc(journal, offset, &self.bytes);
        self.bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        group.extend_from_slice(&self.bytes);
    }
}

fn header_crc(journal: FileId, offset: u32, header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&journal.0);
    crc.update(&u64::from(offset).to_le_bytes());
    crc.update(&header[..36]);
    crc.finalize()
}

/// The mark that ends a journal: a header without a body. Its `durable` is its own offset, so whoever finds it knows
/// that everything before it had been synced. Nothing in it is sealed; it names the suite of the journal.
pub(crate) fn end_mark(journal: FileId, suite: Suite, offset: u32) -> [u8; FRAME_HEADER_BYTES] {
    let mut mark = [0; FRAME_HEADER_BYTES];
    mark[..8].copy_from_slice(&UnitKind::FRAME.common(suite, Codec::Stored));
    mark[16..20].copy_from_slice(&offset.to_le_bytes());
    let crc = header_crc(journal, offset, &mark);
    mark[36..].copy_from_slice(&crc.to_le_bytes());
    mark
}

/// The header of a frame, its checksum being right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHeader {
    common: [u8; UNIT_COMMON_BYTES],
    envelope_bytes: usize,
    payload_bytes: usize,
    /// Everything in the file before this offset had been synced when the frame was written.
    pub(crate) durable: u32,
    nonce: Nonce,
    body_crc: u32,
}

impl FrameHeader {
    /// The header at the beginning of `bytes`, if these are a frame of this journal at this offset.
    pub(crate) fn parse(journal: FileId, offset: u32, bytes: &[u8]) -> Option<Self> {
        let h = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        if h[..4] != *UnitKind::FRAME.0 {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        if header_crc(journal, offset, h) != word(36) {
            return None;
        }
        let (envelope_bytes, payload_bytes) = (word(8) as usize, word(12) as usize);
        let is_frame = (TAG_BYTES..=ENVELOPE_BYTES_MAX).contains(&envelope_bytes)
            && (TAG_BYTES..=PAYLOAD_BYTES_MAX).contains(&payload_bytes);
        if !is_frame && (envelope_bytes, payload_bytes) != (0, 0) {
            return None;
        }
        let mut common = [0; UNIT_COMMON_BYTES];
        common.copy_from_slice(&h[..UNIT_COMMON_BYTES]);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&h[20..32]);
        let (durable, body_crc) = (word(16), word(32));
        Some(Self { common, envelope_bytes, payload_bytes, durable, nonce, body_crc })
    }

    /// Whether this is the mark that ends a journal.
    pub(crate) fn is_end(&self) -> bool {
        self.envelope_bytes == 0
    }

    /// Bytes of the whole frame, padding included.
    pub(crate) fn frame_bytes(&self) -> usize {
        if self.is_end() {
            return FRAME_HEADER_BYTES;
        }
        (ENVELOPE_AT + self.envelope_bytes + self.payload_bytes).next_multiple_of(FRAME_ALIGN)
    }

    /// Whether the body's checksum is right. `frame` begins with the header.
    pub(crate) fn body_is_whole(&self, frame: &[u8]) -> bool {
        if self.is_end() {
            return true;
        }
        let end = ENVELOPE_AT + self.envelope_bytes + self.payload_bytes;
        let padding = frame.get(end..self.frame_bytes());
        padding.is_some_and(|p| p.iter().all(|&b| b == 0))
            && crc32fast::hash(&frame[FRAME_HEADER_BYTES..end]) == self.body_crc
    }

    /// The suite of the seals, if everything about them is known here.
    fn check_algorithms(&self, file: &str) -> Result<Suite> {
        if self.common[4] != super::header::UNIT_VERSION {
            return Err(unsupported(file, "unit version", self.common[4].into()));
        }
        let suite = check_suite(file, self.common[5])?;
        if Codec::from_number(file, self.common[6])? != Codec::Zstd {
            return Err(unsupported(file, "codec of a frame", self.common[6].into()));
        }
        Ok(suite)
    }

    /// The site of the frame and its expiry day.
    pub(crate) fn open_locator(
        &self,
        place: &FramePlace<'_>,
        frame: &[u8],
        journal: &Cipher,
    ) -> Result<Locator> {
        let suite = self.check_algorithms(place.file)?;
        let mut locator = [0; LOCATOR_BYTES];
        locator.copy_from_slice(&frame[FRAME_HEADER_BYTES..ENVELOPE_AT]);
        let aad = associated(&self.common, &[&place.journal.0]);
        let text = journal
            .open_in(suite, &self.nonce, &aad, &mut locator)
            .map_err(|_| place.tampered())?;
        Locator::decode(text).map_err(|m| place.malformed(m))
    }

    /// The envelope under this locator, and its plaintext as the payload's associated data needs it.
    pub(crate) fn open_envelope(
        &self,
        place: &FramePlace<'_>,
        locator: Locator,
        frame: &[u8],
        cipher: &Cipher,
    ) -> Result<(Envelope, Vec<u8>)> {
        let suite = self.check_algorithms(place.file)?;
        let mut sealed = frame[ENVELOPE_AT..ENVELOPE_AT + self.envelope_bytes].to_vec();
        let aad = associated(&self.common, &[&place.journal.0, &locator.site.0]);
        let text =
            cipher.open_in(suite, &self.nonce, &aad, &mut sealed).map_err(|_| place.tampered())?;
        let envelope = Envelope::decode(text).map_err(|m| place.malformed(m))?;
        if envelope.expiry_day() != locator.expiry_day {
            return Err(place.malformed(Malformed("expiry day")));
        }
        sealed.truncate(self.envelope_bytes - TAG_BYTES);
        Ok((envelope, sealed))
    }

    /// The payload's plaintext, decrypted in place in `frame`.
    pub(crate) fn open_payload<'a>(
        &self,
        place: &FramePlace<'_>,
        site: SiteHandle,
        envelope: &[u8],
        frame: &'a mut [u8],
        cipher: &Cipher,
    ) -> Result<&'a [u8]> {
        let suite = self.check_algorithms(place.file)?;
        let at = ENVELOPE_AT + self.envelope_bytes;
        let aad = associated(&self.common, &[&site.0, envelope]);
        cipher
            .open_in(suite, &self.nonce, &aad, &mut frame[at..at + self.payload_bytes])
            .map(|text| &*text)
            .map_err(|_| place.tampered())
    }
}

/// Where a frame stands.
pub(crate) struct FramePlace<'a> {
    pub(crate) file: &'a str,
    pub(crate) journal: FileId,
    pub(crate) offset: u64,
}

impl FramePlace<'_> {
    fn tampered(&self) -> Error {
        Error::corrupt(self.file, self.offset, Damage::Tampered)
    }

    fn malformed(&self, what: Malformed) -> Error {
        Error::corrupt(self.file, self.offset, Damage::Malformed(what.0))
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
