//! Reading one frame again: its envelope and its chunk.

use crate::crypto::Cipher;
use crate::error::{Damage, Error, Result};
use crate::format::frame::{Envelope, FrameHeader, FramePlace, Locator};
use crate::ids::SessionTag;
use crate::keyring::{Keyring, Site};
use crate::zst;

use super::table::FrameRef;

/// The keys with which the frames of one session are read.
#[derive(Clone, Copy)]
pub(crate) struct FrameKeys<'a> {
    pub(crate) keyring: &'a Keyring,
    pub(crate) site: &'a Site,
    pub(crate) tag: SessionTag,
    pub(crate) start_ms: u64,
    pub(crate) expiry_day: u32,
    pub(crate) session: &'a Cipher,
}

/// Reads a frame and appends its chunk's events to `raw`.
///
/// # Errors
/// [`Error::Expired`] if the session's day has passed meanwhile; damage, and errors of the disk.
pub(crate) fn read_frame(
    frame: &FrameRef,
    keys: FrameKeys<'_>,
    raw: &mut Vec<u8>,
) -> Result<Envelope> {
    let journal = &*frame.journal;
    let mut bytes = journal.read(frame.offset, frame.bytes)?;
    let corrupt = |damage| Error::corrupt(&journal.name, frame.offset.into(), damage);
    let header = FrameHeader::parse(journal.id, frame.offset, &bytes)
        .filter(|h| h.frame_bytes() == bytes.len() && h.body_is_whole(&bytes))
        .ok_or_else(|| corrupt(Damage::Rot))?;
    let place =
        FramePlace { file: &journal.name, journal: journal.id, offset: frame.offset.into() };
    let site = keys.site.handle();
    let locator = Locator { site, expiry_day: keys.expiry_day };
    let cipher = keys.keyring.envelope_cipher(keys.site, &journal.id, keys.expiry_day)?;
    let (envelope, plain) = header.open_envelope(&place, locator, &bytes, &cipher)?;
    // The table remembers which chunk stands here; another one was put in its place.
    let expected = (keys.tag, keys.start_ms, frame.seq, frame.first_ms);
    if expected != (envelope.tag, envelope.start_ms, envelope.seq, envelope.first_ms) {
        return Err(corrupt(Damage::Swapped));
    }
    let packed = header.open_payload(&place, site, &plain, &mut bytes, keys.session)?;
    zst::unpack(packed, envelope.raw_bytes as usize, raw)
        .map_err(|m| corrupt(Damage::Malformed(m.0)))?;
    Ok(envelope)
}
