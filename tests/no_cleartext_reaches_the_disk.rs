//! Real recordings of three sites are stored, and every file of store and keyring is searched for what they contain:
//! ids, texts, addresses, and the words that every event has. None is there. Nor do messages and `{:?}` show any.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]

mod common;

use std::collections::BTreeSet;

use common::corpus::{RECORDED_MS, Recorded};
use common::{Folder, chunk, env_at, replayed, session_id, site_id};
use memchr::memmem;
use reelvault::{Error, Query, ReplayError, Store, VisitorId};

/// Texts and addresses of at least twelve bytes, out of the events: some of each session.
fn texts(sessions: &[Recorded]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for recorded in sessions {
        let events = recorded.chunks.concat();
        let mut mine = BTreeSet::new();
        for field in ["\"textContent\":\"", "\"text\":\"", "\"value\":\""] {
            for at in memmem::find_iter(&events, field) {
                let text = &events[at + field.len()..];
                let end =
                    text.iter().take(200).position(|b| matches!(b, b'"' | b'\\')).unwrap_or(200);
                if end >= 12 {
                    mine.insert(text[..end].to_vec());
                }
            }
        }
        let step = (mine.len() / 16).max(1);
        found.extend(mine.into_iter().step_by(step));
        for address in memmem::find_iter(&events, b"http").take(2000).step_by(97) {
            let text = &events[address..];
            let end =
                text.iter().position(|b| matches!(b, b'"' | b'\\' | b' ' | b')')).unwrap_or(12);
            if (12..200).contains(&end) {
                found.insert(text[..end].to_vec());
            }
        }
    }
    found
}

#[test]
fn the_corpus_is_nowhere_on_the_disk() {
    let sessions = common::corpus::read();
    let folder = Folder::new();
    let options = || folder.options_in(env_at(RECORDED_MS)).journal_bytes(8 << 20);
    let store = Store::create(options()).unwrap();
    let sites: BTreeSet<&str> = sessions.iter().map(|s| s.site.as_str()).collect();
    assert_eq!(sites.len(), 3);
    for site in &sites {
        store.add_site(site_id(site), 30).unwrap();
    }
    // Half of the sessions, and half of the chunks of one of them, are archived; the rest stays in journals.
    let (mut chunks, mut raw_bytes) = (0, 0);
    for half in [0, 1] {
        for recorded in sessions.iter().skip(half).step_by(2) {
            let site = store.site(&site_id(&recorded.site)).unwrap();
            for seq in 0..recorded.chunks.len() {
                site.append(&recorded.session(), &recorded.chunk(seq)).unwrap();
                chunks += 1;
                raw_bytes += recorded.chunks[seq].len();
            }
        }
        if half == 0 {
            store.archive().unwrap();
        }
    }
    let stats = store.stats().unwrap();
    assert!(stats.segments >= 1 && stats.live_chunks > 500, "{stats:?}");

    let texts = texts(&sessions);
    let mut canaries: BTreeSet<Vec<u8>> = texts.clone();
    for recorded in &sessions {
        let ids = [&recorded.session, &recorded.visitor, &recorded.site];
        canaries.extend(ids.into_iter().map(|id| id.as_bytes().to_vec()));
        canaries.extend(recorded.attributes.iter().map(|(_, value)| value.as_bytes().to_vec()));
    }
    for word in
        ["timestamp", "\"type\"", "\"data\"", "user_agent", "Mozilla/5.0", "http://", "textContent"]
    {
        canaries.insert(word.into());
    }
    assert!(texts.len() >= 400, "{} texts", texts.len());
    let search = |when: &str| {
        let (mut files, mut bytes) = (0, 0);
        for path in folder.files() {
            let content = std::fs::read(&path).unwrap();
            let name = path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
            for canary in &canaries {
                let shown = String::from_utf8_lossy(canary);
                assert!(memmem::find(&content, canary).is_none(), "{when}: {shown} in {name}");
                assert!(!name.contains(&*shown), "{when}: {shown} in the name {name}");
            }
            files += 1;
            bytes += content.len();
        }
        println!("{when}: {} canaries in none of {files} files, {bytes} bytes", canaries.len());
    };
    search("half archived, open");

    // All of it comes back, byte for byte.
    for recorded in &sessions {
        let site = store.site(&site_id(&recorded.site)).unwrap();
        assert!(replayed(&site, &recorded.session) == recorded.chunks.concat());
    }
    store.close().unwrap();
    search("closed");
    let store = Store::open(options()).unwrap();
    store.archive().unwrap();
    search("all archived");
    let mut visitors = 0;
    for recorded in &sessions {
        let site = store.site(&site_id(&recorded.site)).unwrap();
        assert!(replayed(&site, &recorded.session) == recorded.chunks.concat());
        let info = site.session(&session_id(&recorded.session)).unwrap();
        assert_eq!(info.attributes, recorded.attributes);
        assert_eq!((info.chunks as usize, info.kind), (recorded.chunks.len(), recorded.kind));
        let visitor = VisitorId::new(&recorded.visitor).unwrap();
        let page = site.sessions(&Query::new().visitor(visitor)).unwrap();
        visitors += usize::from(page.sessions.iter().any(|s| s.id == info.id));
    }
    assert_eq!(visitors, sessions.len());
    println!("{} sessions, {chunks} chunks, {raw_bytes} bytes replayed twice", sessions.len());
}

/// A session that gives itself away wherever it is shown.
const SESSION: &str = "session-of-somebody";
const VISITOR: &str = "visitor-of-everything";
const PAGE: &str = "https://shop.example/orders/4711?mail=somebody";
const WORDS: &str = "private words";

fn says_nothing(what: &str, text: &str) {
    for secret in [SESSION, VISITOR, PAGE, "4711", WORDS] {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
        // Bytes are shown as numbers.
        let numbers = secret.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(", ");
        assert!(!text.contains(&numbers), "{what} shows {secret} in numbers");
    }
}

#[test]
fn debug_of_a_session_shows_no_attribute() {
    let session = common::session(SESSION).attribute("page", PAGE).unwrap();
    says_nothing("a session", &format!("{session:?}"));
}

#[test]
fn debug_of_a_session_info_shows_no_attribute() {
    let folder = Folder::new();
    let (_store, site) = common::store_with_site(&folder);
    let session = common::session(SESSION).attribute("page", PAGE).unwrap();
    site.append(&session, &chunk(SESSION, 0, common::NOON, 500)).unwrap();
    says_nothing("a description", &format!("{:?}", site.session(&session_id(SESSION)).unwrap()));
    says_nothing("a page", &format!("{:?}", site.sessions(&Query::new()).unwrap()));
}

#[test]
fn debug_of_a_chunk_shows_no_event() {
    let folder = Folder::new();
    let (_store, site) = common::store_with_site(&folder);
    let sent = chunk(SESSION, 0, common::NOON, 500);
    site.append(&common::session(SESSION), &sent).unwrap();
    says_nothing("a chunk", &format!("{sent:?}"));
    let mut replay = site.replay(&session_id(SESSION)).unwrap();
    let replayed = replay.next_chunk().unwrap().unwrap();
    says_nothing("a replayed chunk", &format!("{replayed:?}"));
}

#[test]
fn messages_and_debug_of_everything_else_show_nothing() {
    let folder = Folder::new();
    let (store, site) = common::store_with_site(&folder);
    let session = common::session(SESSION);
    let sent = chunk(SESSION, 0, common::NOON, 500);
    let appended = site.append(&session, &sent).unwrap();
    store.archive().unwrap();
    let page = site.sessions(&Query::new().limit(1)).unwrap();
    let visitor = VisitorId::new(VISITOR).unwrap();
    let query = Query::new().visitor(visitor.clone());
    let verified = store.verify(reelvault::Depth::Content, |_, _| ()).unwrap();
    for (what, text) in [
        ("an append", format!("{appended:?}")),
        ("ids", format!("{:?} {visitor:?}", session_id(SESSION))),
        ("a query", format!("{query:?}")),
        ("a cursor", format!("{:?}", page.next)),
        ("figures", format!("{:?} {:?} {verified:?}", store.stats(), site.info())),
        ("options", format!("{:?}", folder.options())),
    ] {
        says_nothing(what, &text);
    }
    // Damage of its data, of its index, and its refusals.
    let said = |e: &Error| says_nothing("an error", &format!("{e} {e:?}"));
    said(&site.session(&session_id("4711")).unwrap_err());
    let beyond = reelvault::Chunk { last_ms: common::NOON + 3 * common::DAY, ..sent.clone() };
    said(&site.append(&session, &beyond).unwrap_err());
    let segment =
        folder.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "rvs")).unwrap();
    let whole = std::fs::read(&segment).unwrap();
    let mut errors = 0;
    for at in (0..whole.len()).step_by(5) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&segment, bad).unwrap();
        let store = Store::open_read_only(folder.options()).unwrap();
        let site = store.site(&site_id("shop.example")).unwrap();
        let found = site.session(&session_id(SESSION)).map(drop);
        let replayed = site.replay(&session_id(SESSION)).and_then(|mut r| {
            match r.write_to(&mut std::io::sink()) {
                Ok(_) => Ok(()),
                Err(ReplayError::Read(e)) => Err(e),
                Err(e) => panic!("{e}"),
            }
        });
        for e in [found, replayed].into_iter().filter_map(Result::err) {
            said(&e);
            errors += 1;
        }
        store.verify(reelvault::Depth::Content, |_, _| ()).unwrap().damage.iter().for_each(said);
    }
    assert!(errors > 20);
}
