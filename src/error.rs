//! Every way an operation can fail, and what to do about it.
//!
//! Messages name files, blocks and sites; never a session, a visitor, an event or a key.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::ids::SiteId;

/// What the system answers where the medium does not give back what was written, by itself or by what the file system knows of it: a bad sector
/// (`EIO`; of some block devices `ENODATA`), a wrong checksum or a broken structure (`EBADMSG`, `EUCLEAN`).
const UNREADABLE: [Errno; 4] = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN];

/// Whether an error is the medium's.
pub(crate) fn is_of_medium(cause: &io::Error) -> bool {
    UNREADABLE.iter().any(|code| cause.raw_os_error() == Some(code.raw_os_error()))
}

/// What reads a recording: an error of the medium met by these is of the file alone. One of another file, or of writing, says more.
const READING: [&str; 4] =
    ["opening the segment", "reading the segment", "opening the journal", "reading the journal"];

/// The result of an operation of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// The kinds that call for different actions are different variants; the cause is inside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's input breaks a rule or a limit. Nothing was written. Mend the input.
    #[error("{0}")]
    Input(#[from] InputError),

    /// There is no repository at this place. The first backup makes one, or name the right place.
    #[error("no repository in {0}")]
    NoRepository(String),

    /// The repository holds no such snapshot of this store.
    #[error("no such snapshot in {0}")]
    NoSnapshot(String),

    /// A store can only be restored into a directory that is empty, or that an interrupted restore left.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),

    /// The caller asked to stop. What was done so far is whole; doing it again goes on from there.
    #[error("interrupted")]
    Interrupted,

    /// There is no store in this directory. Make one with `init`, or name the right directory.
    #[error("no store in {}", .0.display())]
    NoStore(PathBuf),

    /// A store or a keyring is there already; it is not overwritten.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),

    /// Another process writes to this store, or restores one here. Stop it, or open the store read-only.
    #[error("the store is being written by process {}", .pid.map_or("unknown".into(), |p| p.to_string()))]
    Locked {
        /// The process id of the holder, where it could be read.
        pid: Option<u32>,
    },

    /// The site has not been added to this store.
    #[error("no site {0} in this store")]
    UnknownSite(SiteId),

    /// The site is there already.
    #[error("site {0} exists already")]
    SiteExists(SiteId),

    /// The site holds no such session. It may have expired: when its day has passed, nothing is left that could tell that it
    /// ever was; only who knows when it started is told [`Error::Expired`], by [`crate::Site::session_at`] or with its
    /// [`crate::SessionInfo`].
    #[error("no such session at this site, or it has expired")]
    UnknownSession,

    /// The key given does not open the keyring, or the keyring is another store's.
    #[error("wrong key: {0}")]
    WrongKey(&'static str),

    /// The keyring needs a version of the provider's key that the provider does not hold.
    #[error("the key provider holds no version {0} of its key")]
    MissingKeyVersion(u32),

    /// The session, its visitor or its site was erased. Its data cannot be read by anyone.
    #[error("erased")]
    Erased,

    /// The retention of the session has ended. Its data cannot be read by anyone.
    #[error("expired: kept until day {expiry_day} (days since 1970-01-01)")]
    Expired {
        /// The first day on which the session is no longer kept, in days since 1970-01-01.
        expiry_day: u32,
    },

    /// Sessions that are to be erased are held. Nothing was erased. Release them, or repeat it with [`crate::Held::Erase`].
    #[error("{sessions} of these sessions are held; nothing was erased")]
    Held {
        /// How many.
        sessions: usize,
    },

    /// Bytes on disk are not what was written. Other sites and files are unaffected.
    #[error("{0}")]
    Corrupt(Box<Corruption>),

    /// A file was written by a newer version, or with an algorithm this build does not know.
    #[error("{file}: unsupported {what} {found}")]
    Unsupported {
        /// The file.
        file: String,
        /// What is unknown: a format version, a cipher suite, a codec.
        what: &'static str,
        /// The value found.
        found: u64,
    },

    /// A sync of this shard's journal failed. What was acknowledged stays readable; the shard takes no
    /// appends until the store is opened again.
    #[error("shard {shard} takes no appends: a sync of its journal failed; reopen the store")]
    Poisoned {
        /// The shard.
        shard: u16,
    },

    /// A new manifest could not be put in place for certain. What was acknowledged stays readable and durable; journals and
    /// segments do not change any more until the store is opened again.
    #[error("the manifest could not be replaced for certain; reopen the store")]
    ManifestUnsure,

    /// The disk is full. Nothing was written; reading, retention and erasing still work.
    #[error("the disk is full: {doing}")]
    DiskFull {
        /// What was being done.
        doing: &'static str,
    },

    /// The operating system refused.
    #[error("{doing} {}: {cause}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },

    /// The store was opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,

    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Input that breaks a rule. Each names the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A site id is 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[error("a site id is 1 to 64 of A-Z a-z 0-9 . _ -")]
    SiteId,
    /// A session id is 1 to 128 bytes of UTF-8 without control characters.
    #[error("a session id is 1 to 128 bytes of UTF-8 without control characters")]
    SessionId,
    /// A visitor id is 1 to 128 bytes of UTF-8 without control characters.
    #[error("a visitor id is 1 to 128 bytes of UTF-8 without control characters")]
    VisitorId,
    /// A session has at most 16 attributes, names of 1 to 64 bytes, values of at most 1,024 bytes.
    #[error(
        "a session has at most 16 attributes, with names of 1 to 64 and values of at most 1,024 bytes"
    )]
    Attributes,
    /// A chunk holds at least one event.
    #[error("the chunk is empty")]
    ChunkEmpty,
    /// A chunk is larger than its limit.
    #[error("the chunk has {bytes} bytes; the limit is {limit}")]
    ChunkTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A chunk holds more events than its limit.
    #[error("the chunk has more than {limit} events")]
    ChunkEvents {
        /// The limit.
        limit: usize,
    },
    /// A chunk is not NDJSON: each line must be one JSON object and end in a line feed.
    #[error("line {line} of the chunk: {why}")]
    NotNdjson {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A time lies outside the accepted range.
    #[error("time {ms} is outside the accepted range {min} to {max} (Unix milliseconds)")]
    TimeRange {
        /// The time given.
        ms: u64,
        /// The earliest accepted.
        min: u64,
        /// The latest accepted.
        max: u64,
    },
    /// A range of times ends before it begins.
    #[error("the times are reversed: {from} is after {to}")]
    TimesReversed {
        /// The first time.
        from: u64,
        /// The second time.
        to: u64,
    },
    /// A sequence number at or over its limit.
    #[error("sequence number {seq}: the limit is {limit}")]
    SequenceNumber {
        /// The number given.
        seq: u64,
        /// The first number that is not accepted.
        limit: u64,
    },
    /// Snapshot offsets must rise, lie at the beginning of a line and have times within the chunk's.
    #[error("snapshot {index} of the chunk: {why}")]
    Snapshot {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A retention class is 1 to 36,500 days.
    #[error("a retention class is 1 to 36,500 days")]
    RetentionClass,
    /// An option of the store is out of range.
    #[error("option {name}: {why}")]
    Option {
        /// Its name.
        name: &'static str,
        /// The accepted range.
        why: &'static str,
    },
    /// A cursor that this store did not give out, or gave out for another site or query.
    #[error("the cursor does not belong to this query")]
    Cursor,
}

/// Damage: where, and of which kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The file's name within the store.
    pub file: String,
    /// The offset of the damaged unit in bytes.
    pub offset: u64,
    /// The site whose data it is, where that is known.
    pub site: Option<SiteId>,
    /// The kind of damage.
    pub kind: Damage,
}

/// The kind of damage, and so what to suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// A checksum is wrong: the medium or a cable.
    Rot,
    /// The checksum is right and the seal is broken: somebody's hand, or a unit from another place.
    Tampered,
    /// The key commitment differs: the unit was sealed under another key.
    Commitment,
    /// The file ends too early.
    Truncated,
    /// The file is not there.
    Missing,
    /// The file is another one than the manifest names.
    Swapped,
    /// The file is not of this format at all.
    Foreign,
    /// The file, or the manifest, is an older version of itself.
    RolledBack,
    /// The content, authentic as it is, breaks a rule of the format; the field is named.
    Malformed(&'static str),
    /// A journal is damaged before frames that had been synced.
    BeforeValidFrames,
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged at byte {}", self.file, self.offset)?;
        if let Some(site) = &self.site {
            write!(f, " (site {site})")?;
        }
        match self.kind {
            Damage::Rot => write!(f, ": a checksum is wrong; suspect the disk"),
            Damage::Tampered => write!(f, ": a seal is broken; suspect tampering"),
            Damage::Commitment => write!(f, ": sealed under another key"),
            Damage::Truncated => write!(f, ": the file ends too early"),
            Damage::Missing => write!(f, ": the file is missing"),
            Damage::Swapped => write!(f, ": it is another file than the manifest names"),
            Damage::Foreign => write!(f, ": not a file of this format"),
            Damage::RolledBack => write!(f, ": an older version was put in its place"),
            Damage::Malformed(field) => write!(f, ": malformed {field}"),
            Damage::BeforeValidFrames => write!(
                f,
                ": frames that had been synced follow it; open in salvage mode to read around it"
            ),
        }
    }
}

impl Error {
    /// An error of the operating system, with a full disk told apart.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull { doing },
            _ => Self::Io { doing, path: path.into(), cause },
        }
    }

    /// Whether nobody can read it any more: it was erased, or its retention has ended. That is no damage.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Erased | Self::Expired { .. })
    }

    /// Whether it tells of damage: then other files may be whole, and it gets no better by waiting, unless it is the medium's.
    pub(crate) fn is_damage(&self) -> bool {
        self.damaged_file().is_some()
    }

    /// The name within the store of the file that is damaged, if this error tells of one: its bytes are not what was written or
    /// nothing that this version reads, or, of a segment or journal, the medium does not give them back.
    #[must_use]
    pub fn damaged_file(&self) -> Option<String> {
        let is_unreadable = |doing: &&'static str, cause: &io::Error| {
            READING.contains(doing) && is_of_medium(cause)
        };
        match self {
            Self::Corrupt(c) => Some(c.file.clone()),
            Self::Unsupported { file, .. } => Some(file.clone()),
            Self::Io { doing, path, cause } if is_unreadable(doing, cause) => name_in_store(path),
            _ => None,
        }
    }

    /// Damage at a place in a file.
    pub(crate) fn corrupt(file: &str, offset: u64, kind: Damage) -> Self {
        Self::Corrupt(Box::new(Corruption { file: file.to_owned(), offset, site: None, kind }))
    }

    /// The same error, with the site named if it is damage of unknown site.
    pub(crate) fn at_site(mut self, site: &SiteId) -> Self {
        if let Self::Corrupt(c) = &mut self
            && c.site.is_none()
        {
            c.site = Some(site.clone());
        }
        self
    }
}

/// The name of a segment or journal within its store: a folder, and a file in it.
fn name_in_store(path: &Path) -> Option<String> {
    let (folder, name) = (path.parent()?.file_name()?, path.file_name()?);
    Some(format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_medium_does_not_give_back_is_damage_of_the_file_that_is_read() {
        let failed = |doing, code: Errno| {
            Error::io(doing, "/store/segment/1.rvs", io::Error::from(code)).damaged_file()
        };
        for code in UNREADABLE {
            assert_eq!(failed("reading the segment", code).as_deref(), Some("segment/1.rvs"));
            assert_eq!(failed("writing the segment", code), None);
        }
        assert_eq!(failed("reading the segment", Errno::MFILE), None);
    }
}
