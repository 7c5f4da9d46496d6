//! What a writer reports, line by line, on a pipe: what came through it was done before the process ended, however it ended.

use std::fmt;

use crate::content::Name;

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A store was opened; what was refused for good before may work again.
    Opened,
    /// A chunk is being appended.
    Begun(Name, u64),
    /// The chunk, and those of its session before it, are durable: somebody was told so.
    Acknowledged(Name, u64),
    /// The chunk was not appended; why.
    Refused(Name, u64, String),
    /// A session is being erased.
    Erasing(Name),
    /// The session is erased.
    Erased(Name),
    /// Retention goes to this day, in days since 1970-01-01.
    Expiring(u32),
    /// What was to be kept until this day or an earlier one is gone.
    Expired(u32),
    /// A backup was begun.
    BackingUp,
    /// The backup is done: the number of its snapshot.
    BackedUp(u64),
    /// A session was read and is what it should be.
    Read(Name),
    /// Something else failed: what was being done, and the kind and words of the error.
    Failed(String, String, String),
    /// Something was read that was never written, or not what was written.
    Wrong(String),
    /// Everything was done, and the store closed.
    Done,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => write!(f, "opened"),
            Self::Begun(name, seq) => write!(f, "begun {name} {seq}"),
            Self::Acknowledged(name, seq) => write!(f, "acknowledged {name} {seq}"),
            Self::Refused(name, seq, why) => write!(f, "refused {name} {seq} {why}"),
            Self::Erasing(name) => write!(f, "erasing {name}"),
            Self::Erased(name) => write!(f, "erased {name}"),
            Self::Expiring(day) => write!(f, "expiring {day}"),
            Self::Expired(day) => write!(f, "expired {day}"),
            Self::BackingUp => write!(f, "backing-up"),
            Self::BackedUp(number) => write!(f, "backed-up {number}"),
            Self::Read(name) => write!(f, "read {name}"),
            Self::Failed(doing, kind, words) => write!(f, "failed {doing} {kind} {words}"),
            Self::Wrong(what) => write!(f, "wrong {what}"),
            Self::Done => write!(f, "done"),
        }
    }
}

impl Line {
    /// Reads a line; none if it is not one.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut fields = rest.split(' ');
        let mut name = || Some(Name::of(fields.next()?, fields.next()?));
        Some(match word {
            "opened" => Self::Opened,
            "begun" => Self::Begun(name()?, fields.next()?.parse().ok()?),
            "acknowledged" => Self::Acknowledged(name()?, fields.next()?.parse().ok()?),
            "refused" => {
                Self::Refused(name()?, fields.next()?.parse().ok()?, fields.next()?.to_owned())
            }
            "erasing" => Self::Erasing(name()?),
            "erased" => Self::Erased(name()?),
            "expiring" => Self::Expiring(rest.parse().ok()?),
            "expired" => Self::Expired(rest.parse().ok()?),
            "backing-up" => Self::BackingUp,
            "backed-up" => Self::BackedUp(rest.parse().ok()?),
            "read" => Self::Read(name()?),
            "failed" => {
                let mut parts = rest.splitn(3, ' ');
                let mut part = || parts.next().map(str::to_owned);
                Self::Failed(part()?, part()?, part()?)
            }
            "wrong" => Self::Wrong(rest.to_owned()),
            "done" => Self::Done,
            _ => return None,
        })
    }
}

/// The kind of an error, as one word. `other` is one that no test expects.
#[must_use]
pub fn kind(error: &reelvault::Error) -> &'static str {
    use reelvault::Error;
    match error {
        Error::DiskFull { .. } => "full",
        Error::Poisoned { .. } => "poisoned",
        Error::ManifestUnsure => "unsure",
        Error::Io { .. } => "io",
        Error::Corrupt(_) => "corrupt",
        Error::Erased => "erased",
        Error::Expired { .. } => "expired",
        Error::UnknownSession => "unknown",
        Error::NoStore(_) => "no-store",
        Error::NoRepository(_) => "no-repository",
        Error::NoSnapshot(_) => "no-snapshot",
        Error::Exists(_) => "exists",
        Error::Locked { .. } => "locked",
        Error::WrongKey(_) => "wrong-key",
        Error::Closed => "closed",
        _ => "other",
    }
}
