//! The recorded corpus of `tools/recorder`: real browser sessions of three demo sites.

use std::io::Read;
use std::path::{Path, PathBuf};

use reelvault::{Chunk, Kind, Session, VisitorId};

use super::session_id;

/// A recorded session: what the recorder named it, and its chunks as NDJSON.
pub(crate) struct Recorded {
    pub(crate) site: String,
    pub(crate) session: String,
    pub(crate) visitor: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) kind: Kind,
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// When the last of the corpus was recorded, and some minutes: 2026-11-22.
pub(crate) const RECORDED_MS: u64 = 1_795_376_000_000;

impl Recorded {
    /// The session as the engine takes it.
    pub(crate) fn session(&self) -> Session {
        let mut session = Session::new(session_id(&self.session))
            .visitor(VisitorId::new(&self.visitor).unwrap())
            .kind(self.kind);
        for (name, value) in &self.attributes {
            session = session.attribute(name, value).unwrap();
        }
        session
    }

    pub(crate) fn chunk(&self, seq: usize) -> Chunk<'_> {
        Chunk::from_events(seq as u64, &self.chunks[seq][..]).unwrap()
    }
}

/// Every session of the corpus, by site and file name; chat transcripts are sessions of their own.
pub(crate) fn read() -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/recorder/corpus");
    let mut sessions = Vec::new();
    for site in ["dash.example", "help.example", "shop.example"] {
        let folder = root.join(site);
        let entries = std::fs::read_dir(&folder).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        files.sort();
        sessions.extend(files.iter().map(|file| session(site, file)));
    }
    sessions
}

fn session(site: &str, file: &Path) -> Recorded {
    let packed = std::fs::File::open(file).unwrap();
    let mut text = Vec::new();
    zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut text).unwrap();
    let first = text.split(|b| *b == b'\n').next().unwrap();
    let first = std::str::from_utf8(first).unwrap().to_owned();
    let mut recorded = Recorded {
        site: site.to_owned(),
        session: field(&first, "session"),
        visitor: field(&first, "visitor"),
        attributes: Vec::new(),
        kind: Kind::Replay,
        chunks: Vec::new(),
    };
    if file.to_string_lossy().contains(".chat.jsonl") {
        // One chunk of all messages, as an uploader would send them at the end.
        recorded.session.push_str("-chat");
        recorded.kind = Kind::Chat;
        recorded.chunks.push(text);
        return recorded;
    }
    for name in ["page", "user_agent"] {
        recorded.attributes.push((name.to_owned(), field(&first, name)));
    }
    for line in text.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b"{\"chunk\":") {
            recorded.chunks.push(Vec::new());
        } else {
            recorded.chunks.last_mut().unwrap().extend_from_slice(line);
        }
    }
    recorded
}

/// The text of a field of a header; the recorder writes no escapes there.
fn field(header: &str, name: &str) -> String {
    let from = header.split_once(&format!("\"{name}\":\"")).unwrap().1;
    from.split_once('"').unwrap().0.to_owned()
}
