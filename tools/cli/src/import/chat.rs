//! Chat transcripts: each becomes a session of its own beside the one it belongs to.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

use reelvault::{Chunk, InputError, Kind, Session, SessionId, VisitorId};
use serde::Deserialize;

use super::cut::Cutter;
use super::feed::{Feed, Stop};
use super::formats::{ms_max, object, time, whole};
use super::split::Lines;

#[derive(Deserialize)]
struct Message {
    timestamp: f64,
    session: Option<String>,
    visitor: Option<String>,
}

/// A chat under way.
struct Chat {
    name: String,
    id: SessionId,
    session: Session,
    cutter: Cutter,
}

impl Chat {
    /// The transcript that belongs to a session.
    fn new(name: &str, visitor: Option<&str>, seq: u64) -> Result<Self, InputError> {
        let id = SessionId::new(format!("{name}-chat"))?;
        let mut session = Session::new(id.clone()).kind(Kind::Chat).attribute("replay", name)?;
        if let Some(visitor) = visitor {
            session = session.visitor(VisitorId::new(visitor)?);
        }
        Ok(Self { name: name.to_owned(), id, session, cutter: Cutter::new(seq) })
    }

    fn append(&mut self, feed: &mut Feed<'_>) -> Result<(), Stop> {
        let cutter = &mut self.cutter;
        if !cutter.is_empty() {
            let chunk = Chunk {
                seq: cutter.seq,
                first_ms: cutter.first_ms,
                last_ms: cutter.last_ms,
                events: Cow::Borrowed(&cutter.events[..]),
                snapshots: Vec::new(),
            };
            feed.append_cut(&self.id, &self.session, &chunk, cutter.first_line)?;
            cutter.next();
        }
        Ok(())
    }
}

/// Reads chat messages; a file may hold those of several sessions.
pub(super) fn read(reader: impl BufRead, file_name: &str, feed: &mut Feed<'_>) -> Result<(), Stop> {
    let mut lines = Lines::new(reader);
    let mut next = |buf: &mut Vec<u8>| (lines.next(buf), lines.number());
    let ms_max = ms_max();
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut current: Option<Chat> = None;
    let mut buf = Vec::new();
    while let Some(line) = whole(feed, &mut buf, &mut next) {
        let message = object::<Message>(&buf)
            .and_then(|m| Ok((time(m.timestamp, ms_max)?, m.session, m.visitor)));
        let (ms, session, visitor) = match message {
            Ok(message) => message,
            Err(why) => {
                feed.refuse(line, 1, why);
                continue;
            }
        };
        let name = session.as_deref().unwrap_or(file_name);
        if current.as_ref().is_none_or(|chat| chat.name != name) {
            if let Some(mut chat) = current.take() {
                chat.append(feed)?;
                numbers.insert(chat.name, chat.cutter.seq);
            }
            let seq = numbers.get(name).copied().unwrap_or(0);
            match Chat::new(name, visitor.as_deref(), seq) {
                Ok(chat) => current = Some(chat),
                Err(e) => {
                    feed.refuse(line, 1, e.to_string());
                    continue;
                }
            }
        }
        if let Some(chat) = &mut current {
            if chat.cutter.ends_before(buf.len(), ms) {
                chat.append(feed)?;
            }
            chat.cutter.add(&buf, line, ms, None);
        }
    }
    if let Some(mut chat) = current {
        chat.append(feed)?;
    }
    feed.compare()
}
