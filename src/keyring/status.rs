//! What is told of a keyring: what a change did, how its mirrors are, and which older keys still live.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::mirror::Mirror;
use super::mirrors::{self, Sealed};
use super::{Destruction, Keyring, ProviderKind};
use crate::error::{Damage, Error, Result};

/// A generation of a keyring that was put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The generation that was in place before.
    pub before: u64,
    /// The new one. More than one higher if attempts in between failed.
    pub after: u64,
    /// The versions of the provider's key that had to end with it.
    pub destroyed: Vec<VersionEnd>,
}

impl Published {
    /// Whether every older version is destroyed, so that no older copy of the keyring opens.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.destroyed.iter().all(VersionEnd::is_destroyed)
    }
}

/// What became of a version of the provider's key that is no longer needed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionEnd {
    /// The version.
    pub version: u32,
    /// The provider's answer, or why it could not: it is tried again with the next change or when the store is opened.
    pub destruction: Result<Destruction, String>,
    /// Whether the copy that it had sealed was at hand, was tried, and does not open any more.
    pub proven: bool,
}

impl VersionEnd {
    /// Whether the version is destroyed.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        matches!(self.destruction, Ok(Destruction::Destroyed { .. }))
    }
}

/// How a mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MirrorState {
    /// It holds the current generation, as every other does.
    Whole,
    /// There is nothing.
    Missing,
    /// It holds an older generation.
    Behind {
        /// Which one.
        generation: u64,
        /// Whether the provider still opens it.
        opens: bool,
    },
    /// It holds a newer generation than is open here: that of another process, or of an attempt that failed.
    Ahead {
        /// Which one.
        generation: u64,
    },
    /// It holds something else, or a part of it is damaged.
    Damaged(Damage),
    /// It could not be read.
    Unreadable(std::io::ErrorKind),
}

/// A mirror and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorStatus {
    /// Where it is.
    pub path: PathBuf,
    /// How it is.
    pub state: MirrorState,
}

/// What a keyring says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The generation that is open.
    pub generation: u64,
    /// What wraps it.
    pub provider: ProviderKind,
    /// The version of the provider's key that wraps it.
    pub version: u32,
    /// Versions that should be destroyed and are not: older copies of the keyring open with them. Those of attempts that
    /// failed are among them.
    pub undestroyed: Vec<u32>,
    /// Why versions cannot be destroyed, if they cannot.
    pub indestructible: Option<&'static str>,
    /// The number of the cipher suite for new data.
    pub suite: u8,
    /// Sites.
    pub sites: u64,
    /// Sites that were erased.
    pub erased_sites: u64,
    /// Sessions that are held.
    pub holds: u64,
    /// Records in the log of deletions.
    pub erasures: u64,
    /// The last expiry day whose key is gone, in days since 1970-01-01, if there is one.
    pub expired_through: Option<u32>,
    /// Nodes of all trees.
    pub nodes: u64,
    /// Bytes of the keyring in one mirror, its parts included.
    pub bytes: u64,
}

impl Keyring {
    /// What the keyring says of itself. Asks the provider which versions it holds.
    ///
    /// # Errors
    /// What the provider answers.
    pub(crate) fn status(&self) -> Result<KeyStatus> {
        let writer = self.writer.lock();
        let version = writer.sealed.version;
        let indestructible = self.provider.indestructible();
        let mut undestroyed: BTreeSet<u32> = BTreeSet::new();
        if indestructible.is_none() {
            undestroyed.extend(self.provider.versions(&writer.sealed.store)?);
            undestroyed.extend(&writer.alive);
            undestroyed.remove(&version);
        }
        let live = self.live.read();
        let of_sites = live.sites.iter().map(|record| record.tree.node_count());
        let nodes = live.time.node_count() + of_sites.sum::<usize>();
        Ok(KeyStatus {
            generation: live.generation,
            provider: self.provider.kind(),
            version,
            undestroyed: undestroyed.into_iter().collect(),
            indestructible,
            suite: live.suite,
            sites: live.sites.len() as u64,
            erased_sites: live.erased.len() as u64,
            holds: live.holds.len() as u64,
            erasures: live.log.count,
            expired_through: live.first_day.checked_sub(1),
            nodes: nodes as u64,
            bytes: writer.state_bytes + live.part_bytes(),
        })
    }

    /// Reads every mirror and tells how it is.
    pub(crate) fn check(&self) -> Vec<MirrorStatus> {
        let writer = self.writer.lock();
        let look = |mirror: &Mirror| MirrorStatus {
            path: mirror.path().to_owned(),
            state: self.mirror_state(mirror, &writer.sealed),
        };
        writer.mirrors.iter().map(look).collect()
    }

    fn mirror_state(&self, mirror: &Mirror, current: &Sealed) -> MirrorState {
        let copy = match mirrors::read_copy(mirror) {
            Ok(Some(copy)) => copy,
            Ok(None) => return MirrorState::Missing,
            Err(Error::Io { cause, .. }) => return MirrorState::Unreadable(cause.kind()),
            Err(Error::Corrupt(c)) => return MirrorState::Damaged(c.kind),
            Err(_) => return MirrorState::Damaged(Damage::Foreign),
        };
        let sealed = copy.sealed();
        if sealed.store != current.store {
            return MirrorState::Damaged(Damage::Swapped);
        }
        match sealed.generation.cmp(&current.generation) {
            std::cmp::Ordering::Less => MirrorState::Behind {
                generation: sealed.generation,
                opens: sealed.opens(&*self.provider),
            },
            std::cmp::Ordering::Greater => MirrorState::Ahead { generation: sealed.generation },
            std::cmp::Ordering::Equal => match mirrors::check(mirror, &copy, self.look(None)) {
                Ok(()) => MirrorState::Whole,
                Err(Error::Io { cause, .. }) => MirrorState::Unreadable(cause.kind()),
                Err(Error::Corrupt(c)) => MirrorState::Damaged(c.kind),
                Err(_) => MirrorState::Damaged(Damage::Tampered),
            },
        }
    }
}
