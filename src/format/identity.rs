//! The identity of a session: what the recorder said of it, under the session's own key.

use super::codec::{Malformed, Put, Take};
use super::header::{Codec, UnitKind, associated};
use crate::crypto::{Cipher, Nonce, TAG_BYTES};
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
    pub(crate) nonce: Nonce,
    /// Ciphertext and tag.
    pub(crate) bytes: Box<[u8]>,
}

impl SealedIdentity {
    fn associated(site: SiteHandle, tag: SessionTag) -> Vec<u8> {
        associated(&UnitKind::IDENTITY.common(Codec::Stored), &[&site.0, &tag.0])
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
        cipher.seal(&nonce, &Self::associated(site, tag), &mut bytes, 0);
        Self { nonce, bytes: bytes.into() }
    }

    /// The identity, or `None` if the seal is broken or its content malformed.
    pub(crate) fn open(
        &self,
        site: SiteHandle,
        tag: SessionTag,
        cipher: &Cipher,
    ) -> Option<Identity> {
        let mut bytes = self.bytes.to_vec();
        let text = cipher.open(&self.nonce, &Self::associated(site, tag), &mut bytes).ok()?;
        Identity::decode(text).ok()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.nonce);
        out.put_bytes(&self.bytes);
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let nonce = take.array("identity nonce")?;
        let bytes = take.byte_string(IDENTITY_BYTES_MAX + TAG_BYTES, "identity")?.into();
        Ok(Self { nonce, bytes })
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
