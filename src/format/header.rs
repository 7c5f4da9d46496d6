//! The two headers that every byte of a store stands behind: of files and of sealed units.

use crate::crypto::{Cipher, NONCE_BYTES, Nonce, Suite, TAG_BYTES};
use crate::error::{Damage, Error, Result};
use crate::ids::FileId;

/// Format version of files that this build writes and reads.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// Version of units that this build writes and reads.
pub(crate) const UNIT_VERSION: u8 = 1;
pub(crate) const FILE_HEADER_BYTES: usize = 32;
pub(crate) const UNIT_HEADER_BYTES: usize = 32;
/// The part of a unit's header that begins its associated data.
pub(crate) const UNIT_COMMON_BYTES: usize = 8;

const _: () = assert!(FILE_HEADER_BYTES == 8 + 2 + 1 + 1 + 16 + 4);
const _: () = assert!(UNIT_HEADER_BYTES == 4 + 1 + 1 + 1 + 1 + 4 + 4 + NONCE_BYTES + 4);

/// The kind of a file, as its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileKind(pub(crate) &'static [u8; 8]);

impl FileKind {
    pub(crate) const JOURNAL: Self = Self(b"RVLTJRNL");
    pub(crate) const SEGMENT: Self = Self(b"RVLTSEGM");
    pub(crate) const MANIFEST: Self = Self(b"RVLTMNFS");
    pub(crate) const KEYRING: Self = Self(b"RVLTKEYR");
    pub(crate) const KEYRING_PART: Self = Self(b"RVLTKEYP");
    pub(crate) const DELETIONS: Self = Self(b"RVLTDELS");
    pub(crate) const REPOSITORY: Self = Self(b"RVLTREPO");
    pub(crate) const SNAPSHOT: Self = Self(b"RVLTSNAP");
    pub(crate) const LIST: Self = Self(b"RVLTLIST");
    pub(crate) const MARK: Self = Self(b"RVLTMARK");
    pub(crate) const MAKING: Self = Self(b"RVLTMAKE");

    /// The header of a new file that stays with the first suite.
    pub(crate) fn header(self, id: FileId) -> [u8; FILE_HEADER_BYTES] {
        self.header_in(Suite::Aes256Gcm, id)
    }

    /// The header of a new file whose first units are sealed in `suite`.
    pub(crate) fn header_in(self, suite: Suite, id: FileId) -> [u8; FILE_HEADER_BYTES] {
        let mut h = [0; FILE_HEADER_BYTES];
        h[..8].copy_from_slice(self.0);
        h[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        h[10] = suite as u8;
        h[12..28].copy_from_slice(&id.0);
        let crc = crc32fast::hash(&h[..28]);
        h[28..].copy_from_slice(&crc.to_le_bytes());
        h
    }

    /// Checks the beginning of a file and returns its id.
    pub(crate) fn check(self, file: &str, bytes: &[u8]) -> Result<FileId> {
        self.check_with_suite(file, bytes).map(|(id, _)| id)
    }

    /// Checks the beginning of a file and returns its id and its suite.
    pub(crate) fn check_with_suite(self, file: &str, bytes: &[u8]) -> Result<(FileId, Suite)> {
        let Some(h) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
            return Err(Error::corrupt(file, 0, Damage::Truncated));
        };
        let crc = u32::from_le_bytes([h[28], h[29], h[30], h[31]]);
        if crc32fast::hash(&h[..28]) != crc {
            let damage = if h.starts_with(b"RVLT") { Damage::Rot } else { Damage::Foreign };
            return Err(Error::corrupt(file, 0, damage));
        }
        if h[..8] != *self.0 {
            return Err(Error::corrupt(file, 0, Damage::Foreign));
        }
        let version = u16::from_le_bytes([h[8], h[9]]);
        if version != FORMAT_VERSION {
            return Err(unsupported(file, "format version", version.into()));
        }
        let suite = check_suite(file, h[10])?;
        let mut id = [0; 16];
        id.copy_from_slice(&h[12..28]);
        Ok((FileId(id), suite))
    }
}

pub(crate) fn unsupported(file: &str, what: &'static str, found: u64) -> Error {
    Error::Unsupported { file: file.to_owned(), what, found }
}

pub(crate) fn check_suite(file: &str, suite: u8) -> Result<Suite> {
    Suite::from_number(suite).ok_or_else(|| unsupported(file, "cipher suite", suite.into()))
}

/// How the content of a unit is packed, as its number on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As it is.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    pub(crate) fn from_number(file: &str, n: u8) -> Result<Self> {
        match n {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Zstd),
            _ => Err(unsupported(file, "codec", n.into())),
        }
    }
}

/// The kind of a sealed unit, as its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnitKind(pub(crate) &'static [u8; 4]);

impl UnitKind {
    pub(crate) const JOURNAL_HEAD: Self = Self(b"RVjh");
    pub(crate) const FRAME: Self = Self(b"RVfr");
    pub(crate) const BLOCK: Self = Self(b"RVbk");
    pub(crate) const SESSION_PAGE: Self = Self(b"RVsp");
    pub(crate) const TAG_PAGE: Self = Self(b"RVtp");
    pub(crate) const VISITOR_PAGE: Self = Self(b"RVvp");
    pub(crate) const SITE_ROOT: Self = Self(b"RVsr");
    pub(crate) const DIRECTORY: Self = Self(b"RVsd");
    pub(crate) const MANIFEST: Self = Self(b"RVmf");
    pub(crate) const KEYRING: Self = Self(b"RVkr");
    pub(crate) const KEYRING_PART: Self = Self(b"RVkp");
    pub(crate) const IDENTITY: Self = Self(b"RVid");
    pub(crate) const CERTIFICATE: Self = Self(b"RVct");
    pub(crate) const SNAPSHOT: Self = Self(b"RVss");
    pub(crate) const LIST: Self = Self(b"RVls");
    pub(crate) const MARK: Self = Self(b"RVpm");

    /// The first bytes of a unit's header, which its seal authenticates.
    pub(crate) fn common(self, suite: Suite, codec: Codec) -> [u8; UNIT_COMMON_BYTES] {
        let m = self.0;
        [m[0], m[1], m[2], m[3], UNIT_VERSION, suite as u8, codec as u8, 0]
    }

    /// Seals `out[from + UNIT_HEADER_BYTES..]` in place, in the cipher's suite, and writes the header at `from`.
    ///
    /// The caller has left room for the header. `context` is the associated data after the common part.
    pub(crate) fn seal(
        self,
        codec: Codec,
        cipher: &Cipher,
        nonce: &Nonce,
        context: &[&[u8]],
        out: &mut Vec<u8>,
        from: usize,
    ) {
        let common = self.common(cipher.suite(), codec);
        let aad = associated(&common, context);
        cipher.seal(nonce, &aad, out, from + UNIT_HEADER_BYTES);
        let body = &out[from + UNIT_HEADER_BYTES..];
        let mut h = [0; UNIT_HEADER_BYTES];
        h[..8].copy_from_slice(&common);
        // Units are bounded far below 4 GiB by the limits of the engine.
        h[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        h[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        h[16..28].copy_from_slice(nonce);
        let crc = crc32fast::hash(&h[..28]);
        h[28..].copy_from_slice(&crc.to_le_bytes());
        out[from..from + UNIT_HEADER_BYTES].copy_from_slice(&h);
    }
}

/// The associated data of a seal: the common part of the header, then what places the unit.
pub(crate) fn associated(common: &[u8], context: &[&[u8]]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(common.len() + context.iter().map(|c| c.len()).sum::<usize>());
    aad.extend_from_slice(common);
    context.iter().for_each(|part| aad.extend_from_slice(part));
    aad
}

/// A unit whose header and checksums are right; the seal is yet to be broken.
pub(crate) struct Unit<'a> {
    common: [u8; UNIT_COMMON_BYTES],
    suite: Suite,
    nonce: Nonce,
    body: &'a mut [u8],
}

impl<'a> Unit<'a> {
    /// Checks the unit that fills `bytes` whole, which stands at `offset` in `file`.
    pub(crate) fn check(
        kind: UnitKind,
        file: &str,
        offset: u64,
        bytes: &'a mut [u8],
    ) -> Result<Self> {
        let header = parse_header(kind, file, offset, bytes)?;
        let body = &mut bytes[UNIT_HEADER_BYTES..];
        match body.len().cmp(&header.body_bytes) {
            std::cmp::Ordering::Less => {
                return Err(Error::corrupt(file, offset, Damage::Truncated));
            }
            std::cmp::Ordering::Greater => {
                return Err(Error::corrupt(file, offset, Damage::Malformed("unit length")));
            }
            std::cmp::Ordering::Equal => {}
        }
        if crc32fast::hash(body) != header.body_crc {
            return Err(Error::corrupt(file, offset, Damage::Rot));
        }
        let codec = if kind == UnitKind::BLOCK { Codec::Zstd } else { Codec::Stored };
        if header.codec != codec {
            return Err(unsupported(file, "codec of this unit", header.codec as u64));
        }
        let UnitHeader { common, suite, nonce, .. } = header;
        Ok(Self { common, suite, nonce, body })
    }

    /// Decrypts in place.
    pub(crate) fn open(
        self,
        cipher: &Cipher,
        context: &[&[u8]],
        file: &str,
        offset: u64,
    ) -> Result<&'a mut [u8]> {
        let aad = associated(&self.common, context);
        cipher
            .open_in(self.suite, &self.nonce, &aad, self.body)
            .map_err(|_| Error::corrupt(file, offset, Damage::Tampered))
    }
}

/// What a unit's header says, its own checksum being right.
pub(crate) struct UnitHeader {
    codec: Codec,
    suite: Suite,
    pub(crate) body_bytes: usize,
    common: [u8; UNIT_COMMON_BYTES],
    body_crc: u32,
    nonce: Nonce,
}

/// Reads a unit's header from the beginning of `bytes`.
pub(crate) fn parse_header(
    kind: UnitKind,
    file: &str,
    offset: u64,
    bytes: &[u8],
) -> Result<UnitHeader> {
    let Some(h) = bytes.first_chunk::<UNIT_HEADER_BYTES>() else {
        return Err(Error::corrupt(file, offset, Damage::Truncated));
    };
    let word = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    if crc32fast::hash(&h[..28]) != word(28) {
        return Err(Error::corrupt(file, offset, Damage::Rot));
    }
    if h[..4] != *kind.0 || h[7] != 0 {
        return Err(Error::corrupt(file, offset, Damage::Malformed("kind of unit")));
    }
    if h[4] != UNIT_VERSION {
        return Err(unsupported(file, "unit version", h[4].into()));
    }
    let suite = check_suite(file, h[5])?;
    let codec = Codec::from_number(file, h[6])?;
    let body_bytes = word(8) as usize;
    if body_bytes < TAG_BYTES {
        return Err(Error::corrupt(file, offset, Damage::Malformed("unit length")));
    }
    let mut common = [0; UNIT_COMMON_BYTES];
    common.copy_from_slice(&h[..8]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&h[16..28]);
    Ok(UnitHeader { codec, suite, body_bytes, common, body_crc: word(12), nonce })
}
