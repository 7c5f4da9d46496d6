//! A hold: a session that is kept past its retention, under a key of its own.

use std::fmt;

use crate::crypto::Key;
use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{HoldId, SessionTag, SiteHandle, VisitorTag, expiry_day};
use crate::limits::HOLD_REASON_BYTES_MAX;

/// Bytes of a hold before its reason.
const FIXED_BYTES: usize = 16 + 16 + 16 + 16 + 8 + 4 + 4 + 8 + Key::BYTES;
/// Fewest bytes of a hold in the keyring: one without a reason.
pub(super) const HOLD_BYTES_MIN: usize = FIXED_BYTES + 1;

/// One session that is held.
///
/// Its key takes the place of a day's leaf for the copy of the session in its hold segment, so the copy outlives the day; and
/// it is random, so removing the hold removes the copy whatever else is still there.
pub(crate) struct Hold {
    pub(crate) id: HoldId,
    pub(crate) site: SiteHandle,
    pub(crate) tag: SessionTag,
    pub(crate) visitor: VisitorTag,
    /// When the session started, Unix milliseconds.
    pub(crate) start_ms: u64,
    /// Its retention class in days.
    pub(crate) retention_days: u32,
    /// Chunks that were copied: where the session has more, the copy is renewed.
    pub(crate) chunks: u32,
    /// When it was held, Unix milliseconds.
    pub(crate) created_ms: u64,
    pub(crate) key: Key,
    /// Why, at most [`HOLD_REASON_BYTES_MAX`] bytes.
    pub(crate) reason: String,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", self.id)
    }
}

impl Hold {
    /// The first day on which the session would not be kept without the hold.
    pub(crate) fn expiry_day(&self) -> u32 {
        expiry_day(self.start_ms, self.retention_days)
    }

    /// Upper bound of the bytes that [`Self::encode`] appends.
    pub(super) fn encoded_bytes_max(&self) -> usize {
        FIXED_BYTES + 10 + self.reason.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&self.id.0);
        out.put(&self.site.0);
        out.put(&self.tag.0);
        out.put(&self.visitor.0);
        out.put_u64(self.start_ms);
        out.put_u32(self.retention_days);
        out.put_u32(self.chunks);
        out.put_u64(self.created_ms);
        out.put(self.key.expose());
        out.put_bytes(self.reason.as_bytes());
    }

    pub(super) fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: HoldId(take.array("hold id")?),
            site: SiteHandle(take.array("site of a hold")?),
            tag: SessionTag(take.array("session of a hold")?),
            visitor: VisitorTag(take.array("visitor of a hold")?),
            start_ms: take.u64("start of a held session")?,
            retention_days: take.u32("retention class of a hold")?,
            chunks: take.u32("chunks of a hold")?,
            created_ms: take.u64("creation of a hold")?,
            key: Key::take(&mut take.array("key of a hold")?),
            reason: take.text(HOLD_REASON_BYTES_MAX, "reason of a hold")?.to_owned(),
        })
    }
}
