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

/// A frame that was read and decrypted, its chunk still compressed.
pub(crate) struct OpenFrame<'a> {
    frame: &'a FrameRef,
    pub(crate) envelope: Envelope,
    packed: &'a [u8],
}

impl<'a> OpenFrame<'a> {
    /// The chunk's zstd frame.
    pub(crate) fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// Appends the chunk's events to `raw`.
    pub(crate) fn unpack(&self, raw: &mut Vec<u8>) -> Result<()> {
        let FrameRef { journal, offset, .. } = self.frame;
        zst::unpack(self.packed, self.envelope.raw_bytes as usize, raw)
            .map_err(|m| Error::corrupt(&journal.name, u64::from(*offset), Damage::Malformed(m.0)))
    }
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
    let mut bytes = Vec::new();
    let open = open_frame(frame, keys, &mut bytes)?;
    open.unpack(raw)?;
    Ok(open.envelope)
}

/// Reads a frame into `bytes`, in place of what is there, and decrypts it.
pub(crate) fn open_frame<'a>(
    frame: &'a FrameRef,
    keys: FrameKeys<'_>,
    bytes: &'a mut Vec<u8>,
) -> Result<OpenFrame<'a>> {
    let journal = &*frame.journal;
    bytes.clear();
    bytes.resize(frame.bytes as usize, 0);
    journal.read_into(frame.offset, bytes)?;
    let corrupt = |damage| Error::corrupt(&journal.name, frame.offset.into(), damage);
    let header = FrameHeader::parse(journal.id, frame.offset, bytes)
        .filter(|h| h.frame_bytes() == bytes.len() && h.body_is_whole(bytes))
        .ok_or_else(|| corrupt(Damage::Rot))?;
    let place =
        FramePlace { file: &journal.name, journal: journal.id, offset: frame.offset.into() };
    let site = keys.site.handle();
    let locator = Locator { site, expiry_day: keys.expiry_day };
    let cipher = keys.keyring.envelope_cipher(keys.site, &journal.id, keys.expiry_day)?;
    let (envelope, plain) = header.open_envelope(&place, locator, bytes, &cipher)?;
    // The table remembers which chunk stands here; another one was put in its place.
    let expected = (keys.tag, keys.start_ms, frame.seq, frame.first_ms);
    if expected != (envelope.tag, envelope.start_ms, envelope.seq, envelope.first_ms) {
        return Err(corrupt(Damage::Swapped));
    }
    let packed = header.open_payload(&place, site, &plain, bytes, keys.session)?;
    Ok(OpenFrame { frame, envelope, packed })
}
