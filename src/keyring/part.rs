//! A part of the keyring as a file: sealed under a key that stands nowhere but in what names the part. No input or output.
//!
//! # Why an older part does not open
//!
//! This is a tree for secure deletion (Reardon, Ritzdorf, Basin, Capkun, "Secure Data Deletion from Persistent Media", 2013).
//! A part's key is drawn when it is sealed, seals this once, and is written into the part above or the body of the
//! keyring, and nowhere else. Whatever changes in a part changes its key, so the parts above it change too, up to the
//! body. What an older part holds can thus be had through an older body alone; and that is dead when its version of
//! the provider's key is (see [`publish`](super::publish)). A part that did not change keeps its key: it holds nothing that is gone.
//!
//! As each key seals one text, and whoever names a part is authentic, only that text opens: there is no older version of
//! a part that could be put in its place, and no other place at which it would open.

use zeroize::Zeroizing;

use super::draw;
use super::place::Place;
use crate::crypto::{Cipher, Key, TAG_BYTES};
use crate::env::Random;
use crate::error::{Damage, Error, InputError, Result};
use crate::format::codec::{Malformed, Put, Take};
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind,
};
use crate::ids::{FileId, SiteHandle, StoreId};

/// What names a part: its id, its key, its length.
pub(super) struct Part {
    pub(super) id: FileId,
    pub(super) key: Key,
    pub(super) bytes: u32,
}

pub(super) const PART_REF_BYTES: usize = 16 + Key::BYTES + 4;

/// Largest part in bytes: twice a piece, for the last item of one is not split. Nothing larger is allocated on the word of a file.
pub(super) const PART_FILE_BYTES_MAX: usize = 2 * super::pieces::PART_BYTES;

impl Part {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.id.0);
        out.put(self.key.expose());
        out.put_u32(self.bytes);
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let id = FileId(take.array("id of a part")?);
        let key = Key::take(&mut take.array("key of a part")?);
        let bytes = take.u32("bytes of a part")?;
        if bytes as usize > PART_FILE_BYTES_MAX {
            return Err(Malformed("bytes of a part"));
        }
        Ok(Self { id, key, bytes })
    }
}

/// What a part is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The list of sites.
    Sites,
    /// The tree of a site.
    Tree(SiteHandle),
}

/// Where a part belongs. It opens there alone.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) store: StoreId,
    pub(super) of: Of,
    pub(super) place: Place,
    pub(super) height: u8,
}

const STAND_BYTES: usize = 16 + 1 + 16 + 1 + 8 + 1;

impl Stand {
    fn context(&self) -> Vec<u8> {
        let (kind, site) = match self.of {
            Of::Sites => (1, SiteHandle([0; 16])),
            Of::Tree(site) => (2, site),
        };
        let mut out = Vec::with_capacity(STAND_BYTES);
        out.put(&self.store.0);
        out.put_u8(kind);
        out.put(&site.0);
        out.put_u8(self.place.level());
        out.put_u64(self.place.prefix());
        out.put_u8(self.height);
        out
    }
}

/// Where the unit of a part begins.
const UNIT_AT: usize = FILE_HEADER_BYTES;

/// A part that is being made: `fill` appends at most `bytes_max` bytes to its file.
pub(super) fn seal(
    random: &dyn Random,
    stand: &Stand,
    bytes_max: usize,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<(Part, Vec<u8>)> {
    let bytes_max = UNIT_AT + UNIT_HEADER_BYTES + bytes_max + TAG_BYTES;
    if bytes_max > PART_FILE_BYTES_MAX {
        let why = "a part of it has at most 128 KiB";
        return Err(InputError::Option { name: "keyring", why }.into());
    }
    let id = FileId(draw(random)?);
    let key = Key::take(&mut draw(random)?);
    let nonce = draw(random)?;
    // Never grown after this, for what it holds before it is sealed are keys. Until then it is wiped when dropped.
    let mut out = Zeroizing::new(Vec::with_capacity(bytes_max));
    let header = FileKind::KEYRING_PART.header(id);
    out.put(&header);
    out.put(&[0; UNIT_HEADER_BYTES]);
    fill(&mut out)?;
    let context: [&[u8]; 2] = [&header, &stand.context()];
    let cipher = Cipher::new(&key);
    UnitKind::KEYRING_PART.seal(Codec::Stored, &cipher, &nonce, &context, &mut out, UNIT_AT);
    debug_assert!(out.len() <= bytes_max, "the buffer was not moved");
    let part = Part { id, key, bytes: out.len() as u32 };
    Ok((part, std::mem::take(&mut *out)))
}

/// Checks what can be checked of a part without its key.
pub(super) fn check(file: &str, id: FileId, bytes: &mut [u8]) -> Result<()> {
    if FileKind::KEYRING_PART.check(file, bytes)? != id {
        return Err(Error::corrupt(file, 0, Damage::Swapped));
    }
    let unit = &mut bytes[UNIT_AT..];
    Unit::check(UnitKind::KEYRING_PART, file, UNIT_AT as u64, unit).map(drop)
}

/// Opens a part; the text of its unit.
pub(super) fn open(
    file: &str,
    bytes: &[u8],
    part: &Part,
    stand: &Stand,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(bytes.to_vec());
    check(file, part.id, &mut body)?;
    let (header, unit) = body.split_at_mut(UNIT_AT);
    let unit = Unit::check(UnitKind::KEYRING_PART, file, UNIT_AT as u64, unit)?;
    let context: [&[u8]; 2] = [header, &stand.context()];
    let text = unit.open(&Cipher::new(&part.key), &context, file, UNIT_AT as u64)?.len();
    let from = UNIT_AT + UNIT_HEADER_BYTES;
    body.copy_within(from..from + text, 0);
    // What is beyond is wiped with the rest: a cleared end is only shorter, not gone.
    zeroize::Zeroize::zeroize(&mut body[text..]);
    body.truncate(text);
    Ok(body)
}
