//! The planted bugs, and the campaign that must find each of them.

/// Bugs by name, with the campaign that must find each.
const BUGS: [(&str, &str); 20] = [
    ("SegmentDirectoryUnsynced", "calls"),
    ("ManifestDirectoryUnsynced", "calls"),
    ("ManifestUnsynced", "calls"),
    ("AcknowledgedBeforeSync", "calls"),
    ("FailedSyncRetried", "fault"),
    ("FullDiskIgnored", "fault"),
    ("NonceCounted", "calls"),
    ("PlaceUnbound", "corruption"),
    ("SegmentUnsynced", "calls"),
    ("JournalsForgottenFirst", "calls"),
    ("RecoveredTailUnsynced", "recovery"),
    ("JournalRecycledEarly", "calls"),
    ("KeyDestroyedEarly", "calls"),
    ("MirrorUnsynced", "calls"),
    ("ExpiredEarly", "crash"),
    ("HoldForgotten", "crash"),
    ("ErasureUnwritten", "calls"),
    ("ArchivedNumbersForgotten", "life"),
    ("SnapshotFirst", "life"),
    ("PrunedInUse", "life"),
];

/// Plants a bug in this process.
#[cfg(feature = "planted-bugs")]
pub(crate) fn plant(name: &str) -> Result<(), String> {
    let all = reelvault::planted::ALL;
    let bug = all.into_iter().find(|bug| format!("{bug:?}") == name);
    reelvault::planted::plant(bug.ok_or_else(|| unknown(name))?);
    Ok(())
}

/// Plants nothing: this build can't.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) fn plant(_: &str) -> Result<(), String> {
    Err("this build has no bugs to plant: build it with --features planted-bugs".to_owned())
}

/// Those that are named, or all.
pub(crate) fn choose(names: &[String]) -> Result<Vec<(&'static str, &'static str)>, String> {
    if names.is_empty() {
        return Ok(BUGS.to_vec());
    }
    let one = |name: &String| {
        let found = BUGS.into_iter().find(|(bug, _)| bug == name);
        found.ok_or_else(|| unknown(name))
    };
    names.iter().map(one).collect()
}

fn unknown(name: &str) -> String {
    format!("there is no bug {name}; there are {}", BUGS.map(|(bug, _)| bug).join(", "))
}
