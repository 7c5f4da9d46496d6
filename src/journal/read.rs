//! Reading one frame again: its envelope and its chunk.

use crate::crypto::Cipher;
use crate::error::{Damage, Error, Result};
use crate::format::frame::{Envelope, FrameHeader, FramePlace};
use crate::ids::SiteHandle;
use crate::zst;

use super::table::FrameRef;

/// The keys with which the frames of one session are read.
#[derive(Clone, Copy)]
pub(crate) struct FrameKeys<'a> {
    pub(crate) site: SiteHandle,
    pub(crate) envelope: &'a Cipher,
    pub(crate) session: &'a Cipher,
}

/// Reads a frame and appends its chunk's events to `raw`.
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
    let (envelope, plain) = header.open_envelope(&place, keys.site, &bytes, keys.envelope)?;
    let packed = header.open_payload(&place, keys.site, &plain, &mut bytes, keys.session)?;
    zst::unpack(packed, envelope.raw_bytes as usize, raw)
        .map_err(|m| corrupt(Damage::Malformed(m.0)))?;
    Ok(envelope)
}
