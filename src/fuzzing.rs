//! The decoders of what stands behind seals, for fuzzing: no change of a sealed byte reaches them through a store.
//!
//! Whatever they accept is written again and read once more, and must be the same. They hold against a keyring that fell into the
//! wrong hands, and against a writer with a mistake in it.

use crate::crypto::Suite;
use crate::format::codec::{Malformed, Take};
use crate::format::frame::{Envelope, Locator};
use crate::format::header::FileKind;
use crate::format::identity::{Identity, SealedIdentity};
use crate::format::manifest::{JournalHead, Manifest};
use crate::format::repository::{MarkBody, SnapshotBody, check_root, decode_list, encode_list};
use crate::format::segment::{
    Directory, FOOTER_BYTES, Footer, SiteRoot, put_chunk_table, put_session_page, put_tag_page,
    take_chunk_table, take_session_page, take_tag_page,
};
use crate::limits::BLOCK_PLAIN_BYTES_MAX;
use crate::retention::record::Certificate;
use crate::zst;

/// What became of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// They were refused.
    Refused,
    /// They were read, and what was read survives being written.
    Same,
    /// They were read, and what was read does not survive being written.
    Differs,
}

/// A decoder and its name.
pub type Decoder = (&'static str, fn(&[u8]) -> Decoded);

/// All decoders. Seeds name them by their place here, so new ones go to the end.
pub const DECODERS: &[Decoder] = &[
    ("manifest", |b| again(b, Manifest::decode, Manifest::encode)),
    ("journal head", |b| again(b, JournalHead::decode, JournalHead::encode)),
    ("locator", |b| again(b, Locator::decode, Locator::encode)),
    ("envelope", |b| again(b, Envelope::decode, Envelope::encode)),
    ("identity", |b| again(b, Identity::decode, Identity::encode)),
    ("sealed identity", |b| again(b, sealed_identity, SealedIdentity::encode)),
    ("chunk table", |b| again(b, chunk_table, |chunks, out| put_chunk_table(chunks, out))),
    ("session page", |b| again(b, take_session_page, |page, out| put_session_page(page, out))),
    ("tag page", |b| again(b, take_tag_page, |page, out| put_tag_page(page, out))),
    ("site root", |b| again(b, SiteRoot::decode, SiteRoot::encode)),
    ("directory", |b| again(b, Directory::decode, Directory::encode)),
    ("footer", footer),
    ("snapshot", |b| again(b, SnapshotBody::decode, SnapshotBody::encode)),
    ("list", |b| again(b, decode_list, |list, out| encode_list(list, out))),
    ("mark", |b| again(b, MarkBody::decode, MarkBody::encode)),
    ("root of a repository", root),
    ("certificate", |b| again(b, Certificate::decode, Certificate::encode)),
    ("zstd frame", frame),
    ("keyring", crate::keyring::fuzzing::keyring),
];

/// Decodes, encodes, and both again.
fn again<T: PartialEq, E>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> Decoded {
    let Ok(first) = decode(bytes) else { return Decoded::Refused };
    let mut written = Vec::new();
    encode(&first, &mut written);
    // Varints may be longer than they need be, so other bytes may stand for the same; what is written is never longer.
    match decode(&written) {
        Ok(second) if second == first && written.len() <= bytes.len() => Decoded::Same,
        _ => Decoded::Differs,
    }
}

fn sealed_identity(bytes: &[u8]) -> Result<SealedIdentity, Malformed> {
    let mut take = Take::new(bytes);
    let identity = SealedIdentity::decode(&mut take)?;
    take.end("identity").map(|()| identity)
}

fn chunk_table(bytes: &[u8]) -> Result<Vec<crate::format::segment::ChunkEntry>, Malformed> {
    take_chunk_table(bytes).map(|(table, _)| table)
}

fn footer(bytes: &[u8]) -> Decoded {
    let Some(footer) = bytes.first_chunk::<FOOTER_BYTES>() else { return Decoded::Refused };
    // The length of the file is taken from what comes after.
    let file_bytes = FOOTER_BYTES as u64 + bytes.len() as u64;
    match Footer::parse("segment", file_bytes, footer) {
        Ok(parsed) if parsed.encode() == *footer => Decoded::Same,
        Ok(_) => Decoded::Differs,
        Err(_) => Decoded::Refused,
    }
}

fn root(bytes: &[u8]) -> Decoded {
    let Ok(id) = check_root(bytes) else { return Decoded::Refused };
    let made = crate::format::repository::root(id);
    let known =
        [Suite::Aes256Gcm, Suite::Aes256GcmSiv].map(|s| FileKind::REPOSITORY.header_in(s, id));
    let header = bytes.first_chunk().is_some_and(|header| known.contains(header));
    if header && made.len() == bytes.len() { Decoded::Same } else { Decoded::Differs }
}

/// How many bytes it is to hold (`u32`), then a frame.
fn frame(bytes: &[u8]) -> Decoded {
    let Some((raw_bytes, frame)) = bytes.split_first_chunk() else { return Decoded::Refused };
    let raw_bytes = u32::from_le_bytes(*raw_bytes) as usize;
    if raw_bytes > BLOCK_PLAIN_BYTES_MAX {
        return Decoded::Refused;
    }
    let _ = zst::is_frame(frame, raw_bytes);
    let mut raw = b"before".to_vec();
    if zst::unpack(frame, raw_bytes, &mut raw).is_err() {
        return if raw == b"before" { Decoded::Refused } else { Decoded::Differs };
    }
    let Some(raw) = raw.strip_prefix(b"before") else { return Decoded::Differs };
    let mut back = Vec::new();
    let survived = zst::pack(1, raw)
        .is_ok_and(|packed| zst::unpack(&packed, raw_bytes, &mut back).is_ok() && back == raw);
    if raw.len() == raw_bytes && survived { Decoded::Same } else { Decoded::Differs }
}
