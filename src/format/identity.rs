//! The identity of a session: what the recorder said of it, under the session's own key.

use super::codec::{Malformed, Put, Take};
use super::header::{Codec, UnitKind, associated};
use std::sync::Arc;

use crate::crypto::{Cipher, Nonce, Suite, TAG_BYTES};
use crate::ids::{SessionTag, SiteHandle};
use crate::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, SESSION_ID_BYTES_MAX,
};

/// Largest identity in bytes: both ids and all attributes with their lengths.
pub(crate) const IDENTITY_BYTES_MAX: usize = 2 * (SESSION_ID_BYTES_MAX + 2)
    + 1
    + ATTRIBUTES_MAX * (ATTRIBUTE_NAME_BYTES_MAX + ATTRIBUTE_VALUE_BYTES_MAX + 4);
/// An identity under its seal, as frames and indexes carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedIdentity {
    /// The number of its suite: it is carried on as it was sealed, in units of other suites too.
    suite: u8,
    nonce: Nonce,
    /// Ciphertext and tag. Shared: a listing copies it from its index for each session it tells.
    bytes: Arc<[u8]>,
}

/// Why an identity could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It is sealed in a suite that is not known here, of this number.
    Suite(u8),
    /// The seal is broken, or what is under it is malformed.
    Broken,
}

impl SealedIdentity {
    fn associated(suite: Suite, site: SiteHandle, tag: SessionTag) -> Vec<u8> {
        associated(&UnitKind::IDENTITY.common(suite, Codec::Stored), &[&site.0, &tag.0])
    }

    pub(crate) fn seal(
        identity: &Identity,
        site: SiteHandle,
        tag: SessionTag,
        cipher: &Cipher,
        nonce: Nonce,
    ) -> Self {
        let mut bytes = Vec::new();
        identity.encode(&mut bytes);
        let suite = cipher.suite();
        cipher.seal(&nonce, &Self::associated(suite, site, tag), &mut bytes, 0);
        Self { suite: suite as u8, nonce, bytes: bytes.into() }
    }

    /// Breaks the seal.
    pub(crate) fn open(
        &self,
        site: SiteHandle,
        tag: SessionTag,
        cipher: &Cipher,
    ) -> Result<Identity, Unopened> {
        let suite = Suite::from_number(self.suite).ok_or(Unopened::Suite(self.suite))?;
        let mut bytes = self.bytes.to_vec();
        let aad = Self::associated(suite, site, tag);
        let text = cipher.open_in(suite, &self.nonce, &aad, &mut bytes);
        Identity::decode(text.map_err(|_| Unopened::Broken)?).map_err(|_| Unopened::Broken)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.suite);
        out.put(&self.nonce);
        out.put_bytes(&self.bytes);
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let suite = take.u8("identity suite")?;
        let nonce = take.array("identity nonce")?;
        let bytes = take.byte_string(IDENTITY_BYTES_MAX + TAG_BYTES, "identity")?.into();
        Ok(Self { suite, nonce, bytes })
    }
}

/// What the recorder said of the session; sealed under the session's own key, so that it goes with the session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) session: Box<str>,
    pub(crate) visitor: Option<Box<str>>,
    pub(crate) attributes: Vec<(Box<str>, Box<str>)>,
}

impl Identity {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.session.as_bytes());
        out.put_bytes(self.visitor.as_deref().unwrap_or_default().as_bytes());
        out.put_varint(self.attributes.len() as u64);
        for (name, value) in &self.attributes {
            out.put_bytes(name.as_bytes());
            out.put_bytes(value.as_bytes());
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let session = take.text(SESSION_ID_BYTES_MAX, "session id")?.into();
        let visitor = take.text(SESSION_ID_BYTES_MAX, "visitor id")?;
        let count = take.count(2, "attributes")?;
        if count > ATTRIBUTES_MAX {
            return Err(Malformed("attributes"));
        }
        let attributes = (0..count)
            .map(|_| {
                let name = take.text(ATTRIBUTE_NAME_BYTES_MAX, "attribute name")?;
                let value = take.text(ATTRIBUTE_VALUE_BYTES_MAX, "attribute value")?;
                Ok((name.into(), value.into()))
            })
            .collect::<Result<_, Malformed>>()?;
        take.end("identity")?;
        let visitor = (!visitor.is_empty()).then(|| visitor.into());
        Ok(Self { session, visitor, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key;

    #[test]
    fn an_identity_opens_in_the_suite_it_was_sealed_in() {
        let key = Key::take(&mut [1; 32]);
        let (site, tag) = (SiteHandle([2; 16]), SessionTag([3; 16]));
        let identity = Identity { session: "s".into(), visitor: None, attributes: Vec::new() };
        for suite in [Suite::Aes256Gcm, Suite::Aes256GcmSiv] {
            let cipher = Cipher::with_suite(&key, suite);
            let sealed = SealedIdentity::seal(&identity, site, tag, &cipher, [4; 12]);
            let mut bytes = Vec::new();
            sealed.encode(&mut bytes);
            let decoded = SealedIdentity::decode(&mut Take::new(&bytes)).unwrap();
            assert_eq!(decoded, sealed);
            let opened = |sealed: &SealedIdentity| sealed.open(site, tag, &Cipher::new(&key));
            assert!(opened(&decoded) == Ok(identity.clone()));
            for (number, why) in [(3 - suite as u8, Unopened::Broken), (9, Unopened::Suite(9))] {
                let other = SealedIdentity { suite: number, ..sealed.clone() };
                assert!(opened(&other) == Err(why));
            }
        }
    }
}
