//! Of what the figures are.

use std::collections::BTreeMap;
use std::process::Command;

/// The last commit that changed what is measured.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let measured = [
        "--",
        "Cargo.toml",
        "src",
        "tools/bench/src",
        "tools/peers/Cargo.lock",
        "tools/peers/Cargo.toml",
        "tools/peers/src",
    ];
    let of = |command: &[&str]| git(&[command, &measured].concat());
    let Some(commit) = of(&["log", "-1", "--format=%h"]) else { return "unknown".to_owned() };
    match of(&["status", "--porcelain"]).as_deref() {
        Some("") => commit,
        _ => format!("{commit} and changes"),
    }
}

/// The peers' versions, as they are locked.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let lock = include_str!("../Cargo.lock");
    let mut versions = BTreeMap::new();
    let names = ["fjall", "redb", "rocksdb", "rusqlite", "surrealkv"];
    for (name, version) in lock.lines().zip(lock.lines().skip(1)) {
        let name = name.strip_prefix("name = \"").and_then(|name| name.strip_suffix('"'));
        let version =
            version.strip_prefix("version = \"").and_then(|version| version.strip_suffix('"'));
        if let (Some(name), Some(version)) = (name, version)
            && names.contains(&name)
        {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    versions
}
