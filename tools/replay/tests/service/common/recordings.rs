//! Some of the recorded corpus of `tools/recorder`: real browser sessions.

use std::io::Read;
use std::path::{Path, PathBuf};

use reelvault::{Chunk, Kind, Session, SiteId, Store, VisitorId};

use super::session_id;

/// When the last of the corpus was recorded, and some minutes: 2026-11-22.
pub(crate) const RECORDED_MS: u64 = 1_795_376_000_000;

/// A recorded session and its chunks, NDJSON.
pub(crate) struct Recorded {
    pub(crate) site: String,
    pub(crate) session: String,
    pub(crate) visitor: String,
    pub(crate) chunks: Vec<Vec<u8>>,
}

impl Recorded {
    pub(crate) fn is_chat(&self) -> bool {
        self.session.ends_with("-chat")
    }

    /// All its events.
    pub(crate) fn events(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(crate) fn append_to(&self, store: &Store) {
        let site = store.site(&SiteId::new(&self.site).unwrap()).unwrap();
        let kind = if self.is_chat() { Kind::Chat } else { Kind::Replay };
        let page = format!("https://{}/<script>alert(1)</script>", self.site);
        let session = Session::new(session_id(&self.session))
            .visitor(VisitorId::new(&self.visitor).unwrap())
            .kind(kind)
            .attribute("page", &page)
            .unwrap();
        for (seq, chunk) in self.chunks.iter().enumerate() {
            let chunk = Chunk::from_events(seq as u64, &chunk[..]).unwrap();
            site.append(&session, &chunk).unwrap();
        }
    }
}

/// A few sessions of each site; of the second also a chat.
pub(crate) fn some() -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recorder/corpus");
    let mut all = Vec::new();
    for site in ["dash.example", "help.example", "shop.example"] {
        let entries = std::fs::read_dir(root.join(site)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        files.sort_by_key(|f| (std::fs::metadata(f).unwrap().len(), f.clone()));
        let chat = |f: &&PathBuf| f.to_string_lossy().contains(".chat.jsonl");
        all.extend(files.iter().filter(|f| !chat(f)).take(3).map(|f| read(site, f)));
        all.extend(files.iter().filter(chat).take(1).map(|f| read(site, f)));
    }
    all
}

fn read(site: &str, file: &Path) -> Recorded {
    let packed = std::fs::File::open(file).unwrap();
    let mut text = Vec::new();
    zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut text).unwrap();
    let first = text.split(|b| *b == b'\n').next().unwrap();
    let first: serde_json::Value = serde_json::from_slice(first).unwrap();
    let head = first.get("chunk").unwrap_or(&first);
    let field = |name: &str| head[name].as_str().unwrap().to_owned();
    let (session, visitor) = (field("session"), field("visitor"));
    let site = site.to_owned();
    if file.to_string_lossy().contains(".chat.jsonl") {
        let session = format!("{session}-chat");
        return Recorded { site, session, visitor, chunks: vec![text] };
    }
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for line in text.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b"{\"chunk\":") {
            chunks.push(Vec::new());
        } else {
            chunks.last_mut().unwrap().extend_from_slice(line);
        }
    }
    Recorded { site, session, visitor, chunks }
}
