//! Sealing small records for programs beside the engine: an audit log, a list of incidents.
//!
//! A record of a site is sealed under a key that is derived of the site's own, so it is gone with the site. A program
//! says what it seals for, and in which place a record stands; a record of another purpose, site or place does not open.

use std::fmt;
use std::sync::Arc;

use crate::crypto::{Cipher, NONCE_BYTES, Suite, TAG_BYTES};
use crate::error::{Damage, Error, InputError, Result};

use super::state::Inner;
use super::{Open, Site, Store};

/// Longest purpose in bytes: a label, written in a program.
pub const PURPOSE_BYTES_MAX: usize = 64;
/// By how many bytes a sealed record is longer than what it holds: suite, nonce and tag.
pub const SEALED_BYTES_MORE: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// Seals and opens the records of one purpose, of a site or of the store.
///
/// A key seals fewer than 2^32 records, so that random nonces stay apart: a thousand a second for a month and a half. What
/// grows faster takes a new purpose from time to time.
#[derive(Clone)]
pub struct Sealer {
    inner: Arc<Inner>,
    _open: Option<Arc<Open>>,
    site: Option<Arc<crate::keyring::Site>>,
    purpose: Arc<str>,
    cipher: Arc<Cipher>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.purpose)
    }
}

fn check(purpose: &str) -> Result<()> {
    if (1..=PURPOSE_BYTES_MAX).contains(&purpose.len()) {
        return Ok(());
    }
    Err(InputError::Option { name: "purpose", why: "1 to 64 bytes" }.into())
}

impl Site {
    /// Seals records of this site for one purpose. When the site is erased, nobody can open them any more.
    ///
    /// # Errors
    /// [`InputError::Option`] for a purpose that is empty or longer than [`PURPOSE_BYTES_MAX`]; [`Error::Erased`].
    pub fn sealer(&self, purpose: &str) -> Result<Sealer> {
        check(purpose)?;
        let cipher = self.inner.keyring.site_purpose_cipher(&self.site, purpose);
        let sealer = Sealer {
            inner: Arc::clone(&self.inner),
            _open: self._open.clone(),
            site: Some(Arc::clone(&self.site)),
            purpose: purpose.into(),
            cipher: Arc::new(cipher),
        };
        sealer.check_not_erased()?;
        Ok(sealer)
    }
}

impl Store {
    /// Seals records that are of no site for one purpose.
    ///
    /// # Errors
    /// [`InputError::Option`] for a purpose that is empty or longer than [`PURPOSE_BYTES_MAX`].
    pub fn sealer(&self, purpose: &str) -> Result<Sealer> {
        check(purpose)?;
        Ok(Sealer {
            inner: Arc::clone(&self.inner.inner),
            _open: Some(Arc::clone(&self.inner)),
            site: None,
            purpose: purpose.into(),
            cipher: Arc::new(self.inner.keyring.purpose_cipher(purpose)),
        })
    }
}

impl Sealer {
    /// Seals a record. `place` says where it stands, so that it opens nowhere else; it is not kept in the record.
    ///
    /// # Errors
    /// [`Error::Erased`] if the site was erased; an error of the system's randomness.
    pub fn seal(&self, place: &[u8], record: &[u8]) -> Result<Vec<u8>> {
        self.check_not_erased()?;
        let mut nonce = [0; NONCE_BYTES];
        self.inner.fill_random(&mut nonce)?;
        let suite = self.cipher.suite();
        let mut sealed = Vec::with_capacity(record.len() + SEALED_BYTES_MORE);
        sealed.push(suite as u8);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(record);
        let from = 1 + NONCE_BYTES;
        self.cipher.seal(&nonce, &associated(suite as u8, place), &mut sealed, from);
        Ok(sealed)
    }

    /// Opens a record that was sealed for the same purpose and place.
    ///
    /// # Errors
    /// [`Error::Erased`] if the site was erased; [`Error::Corrupt`] with [`Damage::Tampered`] if the seal is broken or is another's,
    /// [`Error::Unsupported`] for a suite that is not known. The file they name is the purpose.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        self.check_not_erased()?;
        let corrupt = |kind| {
            let error = Error::corrupt(&self.purpose, 0, kind);
            match &self.site {
                Some(site) => error.at_site(site.id()),
                None => error,
            }
        };
        if sealed.len() < SEALED_BYTES_MORE {
            return Err(corrupt(Damage::Truncated));
        }
        let number = sealed[0];
        let suite = Suite::from_number(number).ok_or_else(|| Error::Unsupported {
            file: self.purpose.to_string(),
            what: "cipher suite",
            found: number.into(),
        })?;
        let (head, body) = sealed.split_at(1 + NONCE_BYTES);
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&head[1..]);
        let mut body = body.to_vec();
        let aad = associated(number, place);
        let opened = self.cipher.open_in(suite, &nonce, &aad, &mut body);
        let bytes = opened.map_err(|_| corrupt(Damage::Tampered))?.len();
        body.truncate(bytes);
        Ok(body)
    }

    /// A reader learns of an erasure here as it does elsewhere. What is of no site cannot be erased, and asks nobody.
    fn check_not_erased(&self) -> Result<()> {
        let Some(site) = &self.site else { return Ok(()) };
        self.inner.keep_up()?;
        if site.is_gone() { Err(Error::Erased) } else { Ok(()) }
    }
}

fn associated(suite: u8, place: &[u8]) -> Vec<u8> {
    [b"RVse", &[1, suite, 0, 0][..], place].concat()
}
