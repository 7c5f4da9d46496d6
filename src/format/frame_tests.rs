//! A frame's three seals: each opens with its own key, at its own place, and for its own day.

use super::*;
use crate::crypto::Key;

const JOURNAL: FileId = FileId([1; 16]);
const SITE: SiteHandle = SiteHandle([2; 16]);
const DAY_MS: u64 = 86_400_000;

fn cipher(n: u8) -> Cipher {
    Cipher::new(&Key::take(&mut [n; 32]))
}

fn envelope(start_day: u64, retention_days: u32) -> Envelope {
    Envelope {
        tag: SessionTag([3; 16]),
        visitor: VisitorTag::NONE,
        commitment: [4; 32],
        attempt: 0,
        kind: Kind::Replay,
        identity: None,
        retention_days,
        start_ms: start_day * DAY_MS + 7,
        seq: 5,
        first_ms: start_day * DAY_MS + 7,
        last_ms: start_day * DAY_MS + 9,
        events: 1,
        raw_bytes: 10,
        snapshots: Vec::new(),
    }
}

fn sealed(envelope: &Envelope) -> (FrameHeader, Vec<u8>) {
    let (journal, mine, session) = (cipher(1), cipher(2), cipher(3));
    let ciphers = FrameCiphers { journal: &journal, envelope: &mine, session: &session };
    let frame = SealedFrame::seal(JOURNAL, SITE, envelope, b"packed", &ciphers, &[9; 12]);
    let mut bytes = Vec::new();
    frame.join(JOURNAL, FRAMES_FROM, FRAMES_FROM, &mut bytes);
    let header = FrameHeader::parse(JOURNAL, FRAMES_FROM, &bytes).unwrap();
    (header, bytes)
}

fn place() -> FramePlace<'static> {
    FramePlace { file: "journal/x", journal: JOURNAL, offset: FRAMES_FROM.into() }
}

#[test]
fn the_locator_tells_site_and_day_and_the_rest_opens_under_it() {
    let sent = envelope(20_000, 30);
    let (header, mut bytes) = sealed(&sent);
    assert_eq!(bytes.len(), SealedFrame::bytes_of(&sent, b"packed".len()));
    let locator = header.open_locator(&place(), &bytes, &cipher(1)).unwrap();
    assert_eq!(locator, Locator { site: SITE, expiry_day: 20_031 });
    let (got, plain) = header.open_envelope(&place(), locator, &bytes, &cipher(2)).unwrap();
    assert_eq!(got, sent);
    let payload = header.open_payload(&place(), SITE, &plain, &mut bytes, &cipher(3)).unwrap();
    assert_eq!(payload, b"packed");
}

#[test]
fn a_locator_of_another_key_or_journal_is_refused() {
    let (header, bytes) = sealed(&envelope(20_000, 30));
    let other = FramePlace { journal: FileId([8; 16]), ..place() };
    for (place, key) in [(place(), 2), (other, 1)] {
        let outcome = header.open_locator(&place, &bytes, &cipher(key));
        assert!(matches!(outcome, Err(Error::Corrupt(c)) if c.kind == Damage::Tampered));
    }
}

#[test]
fn an_envelope_of_another_day_than_its_locator_is_refused() {
    let (header, bytes) = sealed(&envelope(20_000, 30));
    let locator = Locator { site: SITE, expiry_day: 20_032 };
    let outcome = header.open_envelope(&place(), locator, &bytes, &cipher(2));
    let malformed = Damage::Malformed("expiry day");
    assert!(matches!(outcome, Err(Error::Corrupt(c)) if c.kind == malformed));
}
