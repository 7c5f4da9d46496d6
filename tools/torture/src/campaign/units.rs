//! Where units stand in files, so that they can be exchanged whole, with the checksums that are not sealed put right: what is left
//! to notice it is the seal.

use std::ops::Range;

const FILE_HEADER_BYTES: usize = 32;
const FILE_ID: Range<usize> = 12..28;
const UNIT_HEADER_BYTES: usize = 32;
const FRAMES_FROM: usize = 4_096;
const FRAME_HEADER_BYTES: usize = 76;

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(field.try_into().ok()?) as usize)
}

/// The frames of a journal.
pub(super) fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), FRAMES_FROM);
    while bytes.get(at..at + 4) == Some(b"RVfr") {
        let (Some(envelope), Some(payload)) = (number(bytes, at + 8), number(bytes, at + 12))
        else {
            break;
        };
        let end = at + FRAME_HEADER_BYTES + envelope + payload;
        if envelope == 0 || end > bytes.len() {
            break;
        }
        found.push(at..end);
        at = end.next_multiple_of(8);
    }
    found
}

/// The units of a segment, a manifest or any other file that is a header and units back to back.
pub(super) fn units(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), FILE_HEADER_BYTES);
    while let (Some(b"RV"), Some(body)) = (bytes.get(at..at + 2), number(bytes, at + 8)) {
        let end = at + UNIT_HEADER_BYTES + body;
        if end > bytes.len() {
            break;
        }
        found.push(at..end);
        at = end;
    }
    found
}

/// Puts the checksum of a frame's header right for where it stands.
pub(super) fn repair_frame(bytes: &mut [u8], at: usize) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[FILE_ID]);
    crc.update(&(at as u64).to_le_bytes());
    crc.update(&bytes[at..at + 36]);
    let crc = crc.finalize().to_le_bytes();
    bytes[at + 36..at + 40].copy_from_slice(&crc);
}
