//! The names of things: sites, sessions, visitors, and the random ids of files and sites on disk.

use std::fmt;

use crate::error::InputError;
use crate::limits::{DAY_MS, RETENTION_DAYS_MAX, SESSION_ID_BYTES_MAX, SITE_ID_BYTES_MAX};

/// One customer. 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(Box<str>);

/// One session of a site. 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Box<str>);

/// One visitor of a site. 1 to 128 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitorId(Box<str>);

impl SiteId {
    /// Checks and takes a site id.
    ///
    /// # Errors
    /// [`InputError::SiteId`] if it is empty, too long or holds another character.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InputError> {
        let id = id.as_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > SITE_ID_BYTES_MAX || !id.bytes().all(allowed) {
            return Err(InputError::SiteId);
        }
        Ok(Self(id.into()))
    }
}

fn is_name(id: &str) -> bool {
    !id.is_empty() && id.len() <= SESSION_ID_BYTES_MAX && !id.chars().any(char::is_control)
}

impl SessionId {
    /// Checks and takes a session id.
    ///
    /// # Errors
    /// [`InputError::SessionId`] if it is empty, too long or holds a control character.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InputError> {
        let id = id.as_ref();
        if is_name(id) { Ok(Self(id.into())) } else { Err(InputError::SessionId) }
    }
}

impl SessionId {
    /// Takes an id that was read; `None` if it is none.
    pub(crate) fn read(id: Box<str>) -> Option<Self> {
        is_name(&id).then_some(Self(id))
    }

    /// The name of a session whose identity was lost with a damaged frame of a salvaged journal.
    pub(crate) fn lost(tag: SessionTag) -> Self {
        Self(format!("{LOST}{tag}").into())
    }

    /// The tag that such a name carries.
    pub(crate) fn lost_tag(&self) -> Option<SessionTag> {
        FileId::parse(self.0.strip_prefix(LOST)?).map(|id| SessionTag(id.0))
    }
}

const LOST: &str = "lost-";

impl VisitorId {
    /// Checks and takes a visitor id.
    ///
    /// # Errors
    /// [`InputError::VisitorId`] if it is empty, too long or holds a control character.
    pub fn new(id: impl AsRef<str>) -> Result<Self, InputError> {
        let id = id.as_ref();
        if is_name(id) { Ok(Self(id.into())) } else { Err(InputError::VisitorId) }
    }

    /// Takes an id that was read; `None` if it is none.
    pub(crate) fn read(id: Box<str>) -> Option<Self> {
        is_name(&id).then_some(Self(id))
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::str::FromStr for $name {
            type Err = InputError;
            fn from_str(s: &str) -> Result<Self, InputError> {
                Self::new(s)
            }
        }
    };
}
text_id!(SiteId);
text_id!(SessionId);
text_id!(VisitorId);

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteId({})", self.0)
    }
}
// A session or visitor id is a customer's data: a `{:?}` in a log must not carry it.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}
impl fmt::Debug for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisitorId(…)")
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) [u8; 16]);

        impl $name {
            /// The id as 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
bytes_id!(
    /// The random id of a store.
    StoreId
);
bytes_id!(
    /// The random id of a file.
    FileId
);
bytes_id!(
    /// The random id that stands for a site on disk.
    SiteHandle
);
bytes_id!(
    /// The keyed hash that stands for a session on disk.
    SessionTag
);
bytes_id!(
    /// The keyed hash that stands for a visitor on disk; zero if no visitor is known.
    VisitorTag
);

bytes_id!(
    /// The random id of a hold.
    HoldId
);

impl SessionTag {
    /// The session's place in its site's tree: the first eight bytes, big-endian.
    pub(crate) fn place(&self) -> u64 {
        u64::from_be_bytes(*self.0.first_chunk().unwrap_or(&[0; 8]))
    }
}

impl VisitorTag {
    /// No visitor is known.
    pub(crate) const NONE: Self = Self([0; 16]);
}

impl FileId {
    /// The id of these 16 bytes, as [`as_bytes`](Self::as_bytes) gave them out.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id written as 32 hexadecimal digits.
    pub(crate) fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

/// A retention class in days.
pub(crate) fn check_retention(days: u32) -> Result<(), InputError> {
    if (1..=RETENTION_DAYS_MAX).contains(&days) { Ok(()) } else { Err(InputError::RetentionClass) }
}

/// The day on which a session that starts at `start_ms` is no longer kept.
pub(crate) fn expiry_day(start_ms: u64, retention_days: u32) -> u32 {
    expiry_day_of(day_of(start_ms), retention_days)
}

/// The day on which sessions that start on `start_day` are no longer kept.
pub(crate) fn expiry_day_of(start_day: u32, retention_days: u32) -> u32 {
    start_day.saturating_add(retention_days).saturating_add(1)
}

/// Days since 1970-01-01 UTC.
pub(crate) fn day_of(ms: u64) -> u32 {
    u32::try_from(ms / DAY_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_rules() {
        assert!(SiteId::new("shop.example_1-A").is_ok());
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert_eq!(SiteId::new(bad), Err(InputError::SiteId));
        }
        assert!(SessionId::new("Sitzung 7 é").is_ok());
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(129)] {
            assert_eq!(SessionId::new(bad), Err(InputError::SessionId));
            assert_eq!(VisitorId::new(bad), Err(InputError::VisitorId));
        }
        assert!(!format!("{:?}", SessionId::new("secret").unwrap()).contains("secret"));
    }

    #[test]
    fn file_ids_survive_hexadecimal() {
        let id = FileId([0xab; 16]);
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        assert_eq!(FileId::parse("AB"), None);
    }
}
