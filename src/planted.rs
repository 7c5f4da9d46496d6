//! Bugs that are planted on purpose, to see whether the campaigns of `tools/torture` find such.
//!
//! Each is one line at the place where a tired engineer could have written it. Without the feature `planted-bugs`, which no release
//! build accepts, `is` is a constant and the line is gone.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!(
    "the feature `planted-bugs` breaks the store on purpose: it is for tests, with debug assertions"
);

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "nothing plants them")
)]
#[repr(u8)]
pub enum Bug {
    /// The directory of segments is not synced before the manifest names a new one.
    SegmentDirectoryUnsynced = 1,
    /// The directory of the store is not synced after the manifest was replaced.
    ManifestDirectoryUnsynced,
    /// The new manifest is not synced before it replaces the old one.
    ManifestUnsynced,
    /// A group of appends is acknowledged when it is written, not when it is synced.
    AcknowledgedBeforeSync,
    /// A sync that failed is tried again, and its success believed.
    FailedSyncRetried,
    /// A full disk is taken for a success: the group counts as written.
    FullDiskIgnored,
    /// Frames are sealed under nonces that a process counts from zero.
    NonceCounted,
    /// Seals do not bind the place where a unit stands.
    PlaceUnbound,
    /// A segment is not synced before the manifest names it.
    SegmentUnsynced,
    /// The manifest forgets the journals before it knows the segments made of them.
    JournalsForgottenFirst,
    /// What recovery found in the tail of a journal is served without being synced.
    RecoveredTailUnsynced,
    /// The file of an archived journal is used again before the manifest has forgotten the journal.
    JournalRecycledEarly,
    /// The version that wraps the keyring is destroyed before the next keyring is in its place.
    KeyDestroyedEarly,
    /// A mirror of the keyring is replaced without syncing it.
    MirrorUnsynced,
    /// A segment is dropped a day early.
    ExpiredEarly,
    /// Retention takes sessions that are held.
    HoldForgotten,
    /// An erasure is acknowledged and the keyring left as it was.
    ErasureUnwritten,
    /// A session that was archived does not remember the numbers of its chunks.
    ArchivedNumbersForgotten,
    /// A snapshot of a backup becomes visible before its segments are there.
    SnapshotFirst,
    /// Pruning takes what a snapshot that is kept still needs.
    PrunedInUse,
}

/// All of them.
#[cfg(feature = "planted-bugs")]
pub const ALL: [Bug; 20] = [
    Bug::SegmentDirectoryUnsynced,
    Bug::ManifestDirectoryUnsynced,
    Bug::ManifestUnsynced,
    Bug::AcknowledgedBeforeSync,
    Bug::FailedSyncRetried,
    Bug::FullDiskIgnored,
    Bug::NonceCounted,
    Bug::PlaceUnbound,
    Bug::SegmentUnsynced,
    Bug::JournalsForgottenFirst,
    Bug::RecoveredTailUnsynced,
    Bug::JournalRecycledEarly,
    Bug::KeyDestroyedEarly,
    Bug::MirrorUnsynced,
    Bug::ExpiredEarly,
    Bug::HoldForgotten,
    Bug::ErasureUnwritten,
    Bug::ArchivedNumbersForgotten,
    Bug::SnapshotFirst,
    Bug::PrunedInUse,
];

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a bug in this process, in place of the one before.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u8, std::sync::atomic::Ordering::Relaxed);
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
