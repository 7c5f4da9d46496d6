//! A store in a temporary directory, recordings for it, and the command as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Stands in every session and visitor id of these tests, and may stand in no message.
pub(crate) const SECRET: &str = "Confidential";

pub(crate) struct Place {
    dir: TempDir,
}

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a store.
    pub(crate) fn with_store() -> Self {
        let place = Self::empty();
        place.ok(&["init"]);
        place
    }

    /// With a store that has the site `shop`.
    pub(crate) fn with_site() -> Self {
        let place = Self::with_store();
        place.ok(&["site", "add", "shop", "--retention", "90"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file and the directories above it; returns its path as text.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        text(&path)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelvault"));
        for name in ["KEYRING", "KEY_FILE", "PASSPHRASE"] {
            command.env_remove(format!("REELVAULT_{name}"));
        }
        command.env("REELVAULT_STORE", self.path("store"));
        command.args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args))
    }

    /// Runs what must succeed; returns its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// Runs with `--json`, checks the document's head, and returns the exit code and the document.
    pub(crate) fn json(&self, args: &[&str]) -> (i32, Value) {
        let ran = self.run(&[args, &["--json"]].concat());
        let document: Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{args:?}: {e}: {ran:?}"));
        assert_eq!(ran.out.lines().count(), 1, "one document on one line");
        assert_eq!(document["reelvault"], 1);
        assert!(ran.out.starts_with("{\"reelvault\":1,\"command\":\""), "{}", ran.out);
        assert!(args.join(" ").contains(document["command"].as_str().unwrap()), "{document}");
        (ran.code, document)
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(!ran.err.contains(SECRET), "an id in a message: {}", ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// An hour ago, Unix milliseconds.
pub(crate) fn hour_ago() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as u64 - 3_600_000
}

/// An rrweb event as one line.
pub(crate) fn event(kind: u64, ms: u64, data: &str) -> String {
    json!({"type": kind, "data": {"text": data}, "timestamp": ms}).to_string()
}

/// The events of a recording: Meta and FullSnapshot, then an event each second.
pub(crate) fn recording(start_ms: u64, seconds: u64) -> Vec<String> {
    let mut events = vec![event(4, start_ms, "meta"), event(2, start_ms + 1, "snapshot")];
    events.extend((1..seconds).map(|s| event(3, start_ms + 1000 * s, &format!("event {s}"))));
    events
}

pub(crate) fn lines(events: &[String]) -> String {
    events.iter().map(|e| format!("{e}\n")).collect()
}

/// A chunk as an uploader sends it.
pub(crate) fn chunk(session: &str, seq: u64, events: &[String]) -> String {
    let header = json!({"chunk": {
        "session": session, "visitor": format!("v-{SECRET}"), "seq": seq,
        "events": events.len(), "attributes": {"page": "https://shop.test/"},
    }});
    format!("{header}\n{}", lines(events))
}

/// A session of some chunks, one event each.
pub(crate) fn chunks(session: &str, start_ms: u64, count: u64) -> String {
    (0..count).map(|n| chunk(session, n, &[event(3, start_ms + 1000 * n, "x")])).collect()
}
