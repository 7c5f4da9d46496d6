//! What the store writes down of each deletion: statements, and the certificates made of them.
//!
//! A statement is one line of JSON, always spelled in the same way, so that its SHA-256 can be computed with any tool.
//! It names the digest of the statement before it: whoever holds one certificate can check all that came before.
//! It names nobody: sites, sessions and visitors stand in it by the random or keyed names that they have on disk.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::format::codec::{Malformed, Put, Take};
use crate::ids::{SessionTag, SiteHandle, StoreId, VisitorTag};
use crate::limits::ERASED_SESSIONS_MAX;

/// Longest text of a provider's receipt in bytes: what is longer is cut.
const RECEIPT_BYTES_MAX: usize = 1_024;
/// Most receipts of one statement: a generation ends one version of the provider's key, and some that failed before.
const RECEIPTS_MAX: usize = 1_024;

const VERSION: u8 = 1;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deed {
    /// Sessions of a site were erased.
    ErasedSessions {
        /// The site.
        site: SiteHandle,
        /// The sessions, sorted.
        sessions: Vec<SessionTag>,
    },
    /// All sessions of a visitor were erased.
    ErasedVisitor {
        /// The site.
        site: SiteHandle,
        /// The visitor.
        visitor: VisitorTag,
        /// The sessions, sorted.
        sessions: Vec<SessionTag>,
    },
    /// A site was erased, with all that belonged to it.
    ErasedSite {
        /// The site.
        site: SiteHandle,
    },
    /// All days up to this one have passed: nothing that was to be kept until then can be read any more.
    Expired {
        /// The day, in days since 1970-01-01 UTC.
        through: u32,
    },
    /// A session is held beyond its retention.
    Held {
        /// The site.
        site: SiteHandle,
        /// The session.
        session: SessionTag,
    },
    /// A hold has ended.
    Released {
        /// The site.
        site: SiteHandle,
        /// The session.
        session: SessionTag,
    },
    /// The keyring was wrapped anew.
    RotatedKeys,
}

/// What was done, when, and under which generations of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The store.
    pub store: StoreId,
    /// Its number, from 1.
    pub number: u64,
    /// The digest of the statement before; zeros before the first.
    pub previous: [u8; 32],
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// The last generation of the keyring that could still read what is gone.
    pub before: u64,
    /// The generation that cannot.
    pub after: u64,
    /// What was done.
    pub deed: Deed,
}

/// What became of one version of the provider's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The version.
    pub version: u32,
    /// Whether the provider says that it is destroyed, and no older copy of the keyring that was at hand opens any more.
    pub destroyed: bool,
    /// What the provider says, or why it could not.
    pub text: String,
}

/// A statement, its digest, and what the key provider says of the versions that could have opened older keyrings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What was done.
    pub statement: Statement,
    /// SHA-256 of the statement as JSON.
    pub digest: [u8; 32],
    /// What became of the older versions of the provider's key.
    pub receipts: Vec<Receipt>,
}

impl Statement {
    /// The statement as one line of JSON. The same statement gives the same bytes, in every version of this library.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = format!(
            "{{\"reelvault\":\"statement\",\"version\":{VERSION},\"store\":\"{}\",\"number\":{},\"previous\":\"{}\",\"at_ms\":{},\"keyring_before\":{},\"keyring_after\":{},",
            self.store,
            self.number,
            Hex(&self.previous),
            self.at_ms,
            self.before,
            self.after,
        );
        self.deed.write_json(&mut json);
        json.push('}');
        json
    }

    /// SHA-256 of the statement as JSON.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_json()).into()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        out.put(&self.store.0);
        out.put_u64(self.number);
        out.put(&self.previous);
        out.put_u64(self.at_ms);
        out.put_u64(self.before);
        out.put_u64(self.after);
        self.deed.encode(out);
    }

    pub(crate) fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        if take.u8("version of a statement")? != VERSION {
            return Err(Malformed("version of a statement"));
        }
        Ok(Self {
            store: StoreId(take.array("store id")?),
            number: take.u64("number of a statement")?,
            previous: take.array("digest of a statement")?,
            at_ms: take.u64("time of a statement")?,
            before: take.u64("generation")?,
            after: take.u64("generation")?,
            deed: Deed::take(take)?,
        })
    }
}

impl Deed {
    /// What it is called in JSON and in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ErasedSessions { .. } => "erased sessions",
            Self::ErasedVisitor { .. } => "erased visitor",
            Self::ErasedSite { .. } => "erased site",
            Self::Expired { .. } => "expired",
            Self::Held { .. } => "held",
            Self::Released { .. } => "released",
            Self::RotatedKeys => "rotated keys",
        }
    }

    /// The site that it is about, if it is about one.
    #[must_use]
    pub fn site(&self) -> Option<SiteHandle> {
        match self {
            Self::ErasedSessions { site, .. }
            | Self::ErasedVisitor { site, .. }
            | Self::ErasedSite { site }
            | Self::Held { site, .. }
            | Self::Released { site, .. } => Some(*site),
            Self::Expired { .. } | Self::RotatedKeys => None,
        }
    }

    /// The sessions that it names.
    #[must_use]
    pub fn sessions(&self) -> &[SessionTag] {
        match self {
            Self::ErasedSessions { sessions, .. } | Self::ErasedVisitor { sessions, .. } => {
                sessions
            }
            Self::Held { session, .. } | Self::Released { session, .. } => {
                std::slice::from_ref(session)
            }
            _ => &[],
        }
    }

    fn number(&self) -> u8 {
        match self {
            Self::ErasedSessions { .. } => 1,
            Self::ErasedVisitor { .. } => 2,
            Self::ErasedSite { .. } => 3,
            Self::Expired { .. } => 4,
            Self::Held { .. } => 5,
            Self::Released { .. } => 6,
            Self::RotatedKeys => 7,
        }
    }

    fn write_json(&self, json: &mut String) {
        // Writing to a string does not fail.
        let _ = write!(json, "\"deed\":\"{}\"", self.name());
        if let Some(site) = self.site() {
            let _ = write!(json, ",\"site\":\"{site}\"");
        }
        match self {
            Self::ErasedVisitor { visitor, .. } => {
                let _ = write!(json, ",\"visitor\":\"{visitor}\"");
            }
            Self::Expired { through } => {
                let _ = write!(json, ",\"through_day\":{through}");
            }
            _ => {}
        }
        if !matches!(self, Self::ErasedSite { .. } | Self::Expired { .. } | Self::RotatedKeys) {
            json.push_str(",\"sessions\":[");
            for (i, tag) in self.sessions().iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(json, "{comma}\"{tag}\"");
            }
            json.push(']');
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.number());
        if let Some(site) = self.site() {
            out.put(&site.0);
        }
        match self {
            Self::ErasedVisitor { visitor, .. } => out.put(&visitor.0),
            Self::Expired { through } => out.put_u32(*through),
            _ => {}
        }
        if matches!(self, Self::ErasedSessions { .. } | Self::ErasedVisitor { .. }) {
            out.put_varint(self.sessions().len() as u64);
        }
        self.sessions().iter().for_each(|tag| out.put(&tag.0));
    }

    fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let number = take.u8("deed")?;
        let site = |take: &mut Take<'_>| Ok::<_, Malformed>(SiteHandle(take.array("site handle")?));
        let session =
            |take: &mut Take<'_>| Ok::<_, Malformed>(SessionTag(take.array("session tag")?));
        let sessions = |take: &mut Take<'_>| {
            let count = take.count(16, "erased sessions")?;
            if count > ERASED_SESSIONS_MAX {
                return Err(Malformed("erased sessions"));
            }
            (0..count).map(|_| session(take)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match number {
            1 => Self::ErasedSessions { site: site(take)?, sessions: sessions(take)? },
            2 => Self::ErasedVisitor {
                site: site(take)?,
                visitor: VisitorTag(take.array("visitor tag")?),
                sessions: sessions(take)?,
            },
            3 => Self::ErasedSite { site: site(take)? },
            4 => Self::Expired { through: take.u32("day")? },
            5 => Self::Held { site: site(take)?, session: session(take)? },
            6 => Self::Released { site: site(take)?, session: session(take)? },
            7 => Self::RotatedKeys,
            _ => return Err(Malformed("deed")),
        })
    }
}

impl Certificate {
    pub(crate) fn new(statement: Statement, receipts: Vec<Receipt>) -> Self {
        let digest = statement.digest();
        Self { statement, digest, receipts }
    }

    /// Whether every older version is destroyed, as far as the provider and the copies at hand tell.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.receipts.is_empty() && self.receipts.iter().all(|r| r.destroyed)
    }

    /// The certificate as JSON. The digest is that of the bytes of `statement` as they stand there.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = format!(
            "{{\"reelvault\":\"certificate\",\"statement\":{},\"digest\":\"{}\",\"final\":{},\"provider\":[",
            self.statement.to_json(),
            Hex(&self.digest),
            self.is_final()
        );
        for (i, receipt) in self.receipts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(
                json,
                "{comma}{{\"version\":{},\"destroyed\":{},\"receipt\":\"",
                receipt.version, receipt.destroyed
            );
            escape(&receipt.text, &mut json);
            json.push_str("\"}");
        }
        json.push_str("]}");
        json
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.statement.encode(out);
        out.put_varint(self.receipts.len().min(RECEIPTS_MAX) as u64);
        for receipt in self.receipts.iter().take(RECEIPTS_MAX) {
            out.put_u32(receipt.version);
            out.put_u8(receipt.destroyed.into());
            let cut = receipt.text.floor_char_boundary(RECEIPT_BYTES_MAX);
            out.put_bytes(&receipt.text.as_bytes()[..cut]);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(bytes);
        let statement = Statement::take(&mut take)?;
        let count = take.count(6, "receipts")?;
        if count > RECEIPTS_MAX {
            return Err(Malformed("receipts"));
        }
        let receipts = (0..count)
            .map(|_| {
                Ok(Receipt {
                    version: take.u32("key version")?,
                    destroyed: take.u8("fate of a key version")? == 1,
                    text: take.text(RECEIPT_BYTES_MAX, "receipt")?.to_owned(),
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        take.end("end of a certificate")?;
        Ok(Self::new(statement, receipts))
    }
}

/// Bytes in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The text within a JSON string (RFC 8259, section 7).
fn escape(text: &str, json: &mut String) {
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds() -> Vec<Deed> {
        let (site, session) = (SiteHandle([1; 16]), SessionTag([2; 16]));
        vec![
            Deed::ErasedSessions { site, sessions: vec![session, SessionTag([3; 16])] },
            Deed::ErasedVisitor { site, visitor: VisitorTag([4; 16]), sessions: vec![session] },
            Deed::ErasedSite { site },
            Deed::Expired { through: 20_000 },
            Deed::Held { site, session },
            Deed::Released { site, session },
            Deed::RotatedKeys,
        ]
    }

    fn certificate(deed: Deed) -> Certificate {
        let statement = Statement {
            store: StoreId([9; 16]),
            number: 7,
            previous: [8; 32],
            at_ms: 1_800_000_000_000,
            before: 3,
            after: 4,
            deed,
        };
        let text = "overwritten \"at once\"\n".into();
        Certificate::new(statement, vec![Receipt { version: 5, destroyed: true, text }])
    }

    #[test]
    fn certificates_survive_and_any_cut_of_them_is_refused() {
        for deed in deeds() {
            let certificate = certificate(deed);
            let mut bytes = Vec::new();
            certificate.encode(&mut bytes);
            assert_eq!(Certificate::decode(&bytes).as_ref(), Ok(&certificate));
            for cut in 0..bytes.len() {
                assert!(Certificate::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn the_digest_is_that_of_the_statement_as_it_is_printed() {
        for deed in deeds() {
            let certificate = certificate(deed);
            let json = certificate.to_json();
            let (_, rest) = json.split_once("\"statement\":").unwrap();
            let (statement, _) = rest.split_once(",\"digest\"").unwrap();
            let digest: [u8; 32] = Sha256::digest(statement).into();
            assert_eq!(digest, certificate.digest);
            assert!(json.contains("overwritten \\\"at once\\\"\\u000a"));
        }
    }

    #[test]
    fn the_spelling_of_a_statement_is_frozen() {
        let json = certificate(deeds().remove(0)).statement.to_json();
        let (nines, eights) = ("09".repeat(16), "08".repeat(32));
        let (ones, twos, threes) = ("01".repeat(16), "02".repeat(16), "03".repeat(16));
        assert_eq!(
            json,
            format!(
                "{{\"reelvault\":\"statement\",\"version\":1,\"store\":\"{nines}\",\"number\":7,\"previous\":\"{eights}\",\"at_ms\":1800000000000,\"keyring_before\":3,\"keyring_after\":4,\"deed\":\"erased sessions\",\"site\":\"{ones}\",\"sessions\":[\"{twos}\",\"{threes}\"]}}"
            )
        );
    }
}
