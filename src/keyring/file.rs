//! The bytes of a keyring file: file header, wrapping header, wrapped data key, sealed body. No input or output.

use std::ops::Range;

use zeroize::Zeroizing;

use super::coding::{Failed, Loader, Sealer};
use super::provider::{DataKey, ProviderKind, Wrapped};
use super::state::State;
use crate::crypto::{Cipher, Nonce, TAG_BYTES};
use crate::error::{Damage, Error, InputError, Result};
use crate::format::codec::Put;
use crate::format::header::{
    Codec, FILE_HEADER_BYTES, FileKind, UNIT_HEADER_BYTES, Unit, UnitKind, check_suite, unsupported,
};
use crate::ids::{FileId, StoreId};
use crate::limits::STATE_BYTES_MAX;

const WRAPPING_HEADER_BYTES: usize = 24;
const _: () = assert!(WRAPPING_HEADER_BYTES == 8 + 1 + 3 + 4 + 4 + 4);
/// The part of the wrapping header before its checksum.
const WRAPPING_CHECKED_BYTES: usize = 20;
const WRAPPED_AT: usize = FILE_HEADER_BYTES + WRAPPING_HEADER_BYTES;
/// Longest wrapped data key in bytes: four times what a 4,096-bit RSA key of a hardware module makes, and some text.
pub(super) const WRAPPED_BYTES_MAX: usize = 4_096;
/// As many bytes of a file as tell its generation.
pub(super) const PREFIX_BYTES: usize = WRAPPED_AT + WRAPPED_BYTES_MAX;

/// What a provider binds a data key to: store id, generation, and the kind of provider.
pub(super) fn binding(store: &StoreId, generation: u64, provider: ProviderKind) -> Vec<u8> {
    [&store.0[..], &generation.to_le_bytes(), &[provider as u8]].concat()
}

/// The bytes of a keyring file. Parts that are new are sealed for it.
pub(super) fn encode(
    state: &State,
    provider: ProviderKind,
    wrapped: &Wrapped,
    data_key: &DataKey,
    nonce: &Nonce,
    sealer: &mut Sealer<'_>,
) -> Result<Vec<u8>> {
    let too_large = |name, why| Err(InputError::Option { name, why }.into());
    if wrapped.bytes.len() > WRAPPED_BYTES_MAX {
        return too_large("wrapped data key", "at most 4,096 bytes");
    }
    let body_at = WRAPPED_AT + wrapped.bytes.len();
    let bytes_max = body_at + UNIT_HEADER_BYTES + state.encoded_bytes_max() + TAG_BYTES;
    if bytes_max as u64 + state.sites.below_bytes_max() > STATE_BYTES_MAX as u64 {
        return too_large("keyring", "at most 1 GiB");
    }
    // Never grown after this, for what it holds before it is sealed are keys. Until then it is wiped when dropped.
    let mut out = Zeroizing::new(Vec::with_capacity(bytes_max));
    out.put(&FileKind::KEYRING.header(FileId(state.store_id.0)));
    out.put_u64(state.generation);
    out.put_u8(provider as u8);
    out.put(&[0; 3]);
    out.put_u32(wrapped.version);
    out.put_u32(wrapped.bytes.len() as u32);
    let crc = checksum(&out[FILE_HEADER_BYTES..], &wrapped.bytes);
    out.put_u32(crc);
    let context = out.to_vec();
    out.put(&wrapped.bytes);
    out.put(&[0; UNIT_HEADER_BYTES]);
    state.encode(&mut out, sealer)?;
    let cipher = Cipher::new(&data_key.0);
    UnitKind::KEYRING.seal(Codec::Stored, &cipher, nonce, &[&context], &mut out, body_at);
    debug_assert!(out.len() <= bytes_max, "the buffer was not moved");
    Ok(std::mem::take(&mut *out))
}

fn checksum(header: &[u8], wrapped: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(wrapped);
    crc.finalize()
}

/// What a keyring file says to anyone: all but its body.
pub(super) struct Outer {
    pub(super) store_id: StoreId,
    pub(super) generation: u64,
    provider: u8,
    version: u32,
    wrapped: Range<usize>,
}

impl Outer {
    /// Checks a keyring file, or the first [`PREFIX_BYTES`] of one, up to its body.
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let corrupt = |damage| Error::corrupt(file, FILE_HEADER_BYTES as u64, damage);
        let store_id = StoreId(FileKind::KEYRING.check(file, bytes)?.0);
        let rest = &bytes[FILE_HEADER_BYTES..];
        let Some((h, rest)) = rest.split_first_chunk::<WRAPPING_HEADER_BYTES>() else {
            return Err(corrupt(Damage::Truncated));
        };
        let word = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let wrapped_bytes = word(16) as usize;
        if wrapped_bytes > WRAPPED_BYTES_MAX {
            return Err(corrupt(Damage::Malformed("length of the wrapped data key")));
        }
        let Some(wrapped) = rest.get(..wrapped_bytes) else {
            return Err(corrupt(Damage::Truncated));
        };
        if checksum(&h[..WRAPPING_CHECKED_BYTES], wrapped) != word(20) {
            return Err(corrupt(Damage::Rot));
        }
        if h[9..12] != [0; 3] {
            return Err(corrupt(Damage::Malformed("wrapping header")));
        }
        Ok(Self {
            store_id,
            generation: u64::from(word(0)) | u64::from(word(4)) << 32,
            provider: h[8],
            version: word(12),
            wrapped: WRAPPED_AT..WRAPPED_AT + wrapped_bytes,
        })
    }

    /// The kind of provider that the file needs.
    pub(super) fn provider(&self, file: &str) -> Result<ProviderKind> {
        ProviderKind::from_number(self.provider)
            .ok_or_else(|| unsupported(file, "key provider", self.provider.into()))
    }

    /// The version of the provider's key, and the wrapped data key. `bytes` are those that were parsed.
    pub(super) fn wrapped<'a>(&self, bytes: &'a [u8]) -> (u32, &'a [u8]) {
        (self.version, &bytes[self.wrapped.clone()])
    }

    /// Breaks the seal of the body. `bytes` are those that were parsed.
    pub(super) fn open(
        &self,
        file: &str,
        bytes: &[u8],
        data_key: &DataKey,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let at = self.wrapped.end;
        let mut body = Zeroizing::new(bytes[at..].to_vec());
        let unit = Unit::check(UnitKind::KEYRING, file, at as u64, &mut body)?;
        let context = &bytes[..WRAPPED_AT];
        let text = unit.open(&Cipher::new(&data_key.0), &[context], file, at as u64)?;
        Ok(Zeroizing::new(text.to_vec()))
    }

    /// Reads what [`Self::open`] gave, and the parts that it names.
    ///
    /// # Errors
    /// [`Unread::Body`] if the file itself is not as it should be, [`Unread::Part`] if only a part is not.
    pub(super) fn read(
        &self,
        file: &str,
        text: &[u8],
        loader: &mut Loader<'_>,
        part_bytes: usize,
    ) -> Result<State, Unread> {
        let malformed = |what| {
            let at = self.wrapped.end as u64;
            Unread::Body(Error::corrupt(file, at, Damage::Malformed(what)))
        };
        let state = State::decode(text, loader, part_bytes).map_err(|failed| match failed {
            Failed::Malformed(m) => malformed(m.0),
            Failed::Part(e) => Unread::Part(e),
        })?;
        check_suite(file, state.suite).map_err(Unread::Body)?;
        if state.store_id != self.store_id {
            return Err(malformed("store id"));
        }
        if state.generation != self.generation {
            return Err(malformed("generation"));
        }
        Ok(state)
    }
}

/// Why a keyring was not read, its provider's key being at hand.
#[derive(Debug)]
pub(super) enum Unread {
    /// The file itself.
    Body(Error),
    /// A part of it: the file is whole.
    Part(Error),
}
