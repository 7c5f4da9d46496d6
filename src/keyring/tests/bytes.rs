//! The bytes of a keyring file: what they hold, what they hide, and what happens when they change.

use super::*;
use crate::error::Damage;
use crate::keyring::coding::{Coded, Failed, Loader, Parts, Sealer};
use crate::keyring::file::{Outer, Unread, binding, encode};
use crate::keyring::part::Part;
use crate::keyring::pieces::Editing;
use crate::keyring::place::Place;
use crate::keyring::provider::Wrapped;
use crate::keyring::site::Record;

const NAME: &str = "keyring";

fn empty() -> State {
    let (store_key, time_root) = (Key::take(&mut [2; 32]), Key::take(&mut [3; 32]));
    State::new(StoreId([1; 16]), store_key, time_root, PART_BYTES)
}

fn state() -> State {
    let mut state = empty();
    for (n, name) in [(8u8, "shop.example"), (4, "canary-of-a-site")] {
        let mut tree = Tree::new(SITE_DEPTH, Key::take(&mut [n; 32]));
        tree.puncture(&[n.into()], &mut Editing::new(PART_BYTES));
        let key = Key::take(&mut [n + 1; 32]);
        let handle = SiteHandle([n; 16]);
        let site = Site::new(id(name), handle, 1_700_000_000_000, 30, key, tree.clone());
        assert!(state.insert(Record::new(Arc::new(site), tree)));
    }
    state.time.puncture_through(20_000);
    state.first_day = 20_001;
    state.log = state.log.after(b"the one before", [1; 32]).after(b"a statement", [2; 32]);
    Arc::make_mut(&mut state.erased).extend([[0x41; 16], [0x42; 16]]);
    for n in [0x51, 0x52] {
        let hold = hold(n);
        Arc::make_mut(&mut state.holds).insert(hold.id, Arc::new(hold));
    }
    state
}

fn hold(n: u8) -> Hold {
    Hold {
        id: HoldId([n; 16]),
        site: SiteHandle([8; 16]),
        tag: SessionTag([n; 16]),
        visitor: crate::ids::VisitorTag([n; 16]),
        start_ms: 1,
        retention_days: 30,
        chunks: 3,
        created_ms: 2,
        key: Key::take(&mut [0x60 | n; 32]),
        reason: "canary of a hold".to_owned(),
    }
}

fn data_key() -> DataKey {
    DataKey::take(&mut [5; 32])
}

fn file(state: &State) -> Vec<u8> {
    let wrapped = Wrapped { version: 3, bytes: vec![0x77; 60] };
    encode(state, ProviderKind::KeyFile, &wrapped, &data_key(), &[6; 12], &mut no_parts()).unwrap()
}

fn open(bytes: &[u8]) -> Result<State> {
    let outer = Outer::parse(NAME, bytes)?;
    outer.provider(NAME)?;
    let text = outer.open(NAME, bytes, &data_key())?;
    let read = outer.read(NAME, &text, &mut Loader::new(&mut NoParts, None), PART_BYTES);
    read.map_err(|unread| match unread {
        Unread::Body(e) | Unread::Part(e) => e,
    })
}

/// For states that are in no parts.
struct NoParts;

impl Parts for NoParts {
    fn read(
        &mut self,
        part: &Part,
        _: &crate::keyring::part::Stand,
    ) -> Result<(zeroize::Zeroizing<Vec<u8>>, String)> {
        Err(Error::corrupt(&part.id.to_string(), 0, Damage::Missing))
    }
}

fn no_parts() -> Sealer<'static> {
    Sealer::new(&crate::env::RealRandom, StoreId([1; 16]))
}

fn decode(bytes: &[u8]) -> Result<State, &'static str> {
    State::decode(bytes, &mut Loader::new(&mut NoParts, None), PART_BYTES).map_err(|e| match e {
        Failed::Malformed(m) => m.0,
        Failed::Part(_) => "a part",
    })
}

fn plain(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode(&mut out, &mut no_parts()).unwrap();
    assert!(out.len() <= state.encoded_bytes_max());
    out
}

/// Sets the checksum of the wrapping header right again.
fn mend_wrapping(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&[&bytes[32..52], &bytes[56..116]].concat());
    bytes[52..56].copy_from_slice(&crc.to_le_bytes());
}

/// Sets both checksums of the body unit right again.
fn mend_body(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&bytes[148..]);
    bytes[128..132].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[116..144]);
    bytes[144..148].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_state_survives_its_file() {
    let (before, bytes) = (state(), file(&state()));
    let outer = Outer::parse(NAME, &bytes).unwrap();
    assert_eq!((outer.store_id, outer.generation), (before.store_id, 1));
    assert_eq!(outer.wrapped(&bytes), (3, &[0x77; 60][..]));
    let after = open(&bytes).unwrap();
    assert_eq!(plain(&after), plain(&before));
    let site = after.site(&id("shop.example")).unwrap();
    assert_eq!(site.handle(), SiteHandle([8; 16]));
    assert_eq!(
        (after.first_day, after.log.count, &after.log.last[..]),
        (20_001, 2, &b"a statement"[..])
    );
    let digest: String = after.log.digest.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, "02".repeat(32));
    let hold = &after.holds[&HoldId([0x51; 16])];
    assert_eq!((hold.site, hold.tag), (SiteHandle([8; 16]), SessionTag([0x51; 16])));
    assert_eq!((hold.start_ms, hold.created_ms, &*hold.reason), (1, 2, "canary of a hold"));
    assert_eq!((site.created_ms(), site.retention_days()), (1_700_000_000_000, 30));
    assert!(site.leaf(8).is_none() && site.leaf(9).is_some());
}

#[test]
fn the_fields_stand_where_the_format_says() {
    let bytes = file(&state());
    assert_eq!(&bytes[..8], b"RVLTKEYR");
    assert_eq!(bytes[12..28], [1; 16]);
    assert_eq!(bytes[32..40], 1u64.to_le_bytes());
    assert_eq!(bytes[40..44], [1, 0, 0, 0]);
    assert_eq!(bytes[44..52], [3, 0, 0, 0, 60, 0, 0, 0]);
    assert_eq!(bytes[56..116], [0x77; 60]);
    assert_eq!(&bytes[116..124], b"RVkr\x01\x01\x00\x00");
    let body = u32::from_le_bytes([bytes[124], bytes[125], bytes[126], bytes[127]]);
    assert_eq!(bytes.len(), 148 + body as usize);
    let plain = plain(&state());
    assert_eq!(plain.len() + 16, body as usize);
    assert_eq!(plain[..25], [[1; 16].to_vec(), vec![1, 0, 0, 0, 0, 0, 0, 0, 1]].concat());
    assert_eq!(plain[25..57], [2; 32]);
    assert_eq!(plain[57], 24, "the depth of the time tree");
    let aad = binding(&StoreId([1; 16]), 0x0102, ProviderKind::Passphrase);
    assert_eq!(aad, [[1; 16].to_vec(), vec![2, 1, 0, 0, 0, 0, 0, 0, 2]].concat());
}

#[test]
fn no_name_and_no_key_is_in_the_clear() {
    let bytes = file(&state());
    for secret in
        [&b"canary"[..], b"shop", &[2; 8], &[3; 8], &[4; 8], &[5; 8], &[8; 8], &[9; 8], &[0x71; 8]]
    {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{secret:?}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = file(&state());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let e = error(open(&bad));
            assert!(damage(&e).is_some(), "bit {bit} of byte {at}: {e}");
        }
    }
}

#[test]
fn every_truncation_and_every_longer_file_is_found() {
    let bytes = file(&state());
    for len in 0..bytes.len() {
        let kind = damage(&error(open(&bytes[..len])));
        assert_eq!(kind, Some(Damage::Truncated), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(damage(&error(open(&longer))), Some(Damage::Malformed("unit length")));
}

#[test]
fn a_hand_that_mends_the_checksums_is_found() {
    let bytes = file(&state());
    for at in (32..52).chain(56..116) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        mend_wrapping(&mut bad);
        // The provider would refuse the wrapped key already; the seal of the body covers the header as well.
        let result = open(&bad);
        match at {
            // The wrapped key is the provider's, and its checksum, in the header, changes with it.
            56.. => assert_eq!(damage(&error(result)), Some(Damage::Tampered)),
            40 => assert!(matches!(error(result), Error::Unsupported { .. } | Error::Corrupt(_))),
            _ => assert!(damage(&error(result)).is_some(), "byte {at}"),
        }
    }
    for at in 148..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        mend_body(&mut bad);
        assert_eq!(damage(&error(open(&bad))), Some(Damage::Tampered), "byte {at}");
    }
    let mut other_provider = bytes.clone();
    other_provider[40] = 99;
    mend_wrapping(&mut other_provider);
    assert!(matches!(error(open(&other_provider)), Error::Unsupported { found: 99, .. }));
}

#[test]
fn a_body_that_breaks_a_rule_is_refused() {
    let good = plain(&state());
    assert!(decode(&good).is_ok());
    for len in 0..good.len() {
        assert!(decode(&good[..len]).is_err());
    }
    assert!(decode(&[&good[..], &[0]].concat()).is_err());
    let one = |name: &str, handle: u8, days: u32| {
        let tree = Tree::new(SITE_DEPTH, Key::take(&mut [1; 32]));
        let key = Key::take(&mut [1; 32]);
        let mut out = Vec::new();
        let site = Site::new(id(name), SiteHandle([handle; 16]), 0, days, key, tree.clone());
        let record = [Record::new(Arc::new(site), tree)];
        Record::encode_items(Place::ROOT, &record, &mut out, &mut no_parts()).unwrap();
        out.remove(0);
        out
    };
    let head = plain(&empty());
    let with = |sites: &[Vec<u8>]| {
        let count = [sites.len() as u8];
        let bytes = [&head[..head.len() - 1], &count, &sites.concat()].concat();
        decode(&bytes).map(|_| ())
    };
    assert_eq!(with(&[one("a", 1, 1), one("b", 2, 36_500)]), Ok(()));
    assert_eq!(with(&[one("a", 2, 1), one("b", 1, 1)]), Err("site order"));
    assert_eq!(with(&[one("a", 2, 1), one("b", 2, 1)]), Err("site order"));
    assert_eq!(with(&[one("a", 1, 1), one("a", 2, 1)]), Err("site id"));
    assert_eq!(with(&[one("a", 1, 0)]), Err("retention class of a site"));
    assert_eq!(with(&[one("a", 1, 36_501)]), Err("retention class of a site"));
    let holds = |ids: &[u8]| {
        let mut state = decode(&head).unwrap();
        let holds = ids.iter().map(|n| (HoldId([*n; 16]), Arc::new(hold(*n))));
        state.holds = Arc::new(holds.collect());
        plain(&state)
    };
    let (good, at) = (holds(&[1, 2]), head.len() - 2);
    assert!(decode(&good).is_ok());
    let mut swapped = good.clone();
    swapped[at..at + 16].fill(3);
    assert_eq!(decode(&swapped).err().unwrap(), "order of holds");
    let mut long = good.clone();
    // The reason of the first hold ends before the second; its length is made longer than any may be.
    long[at + 120..at + 122].copy_from_slice(&[0x81, 0x08]);
    assert_eq!(decode(&long).err().unwrap(), "reason of a hold");
    let mut slash = one("a", 1, 1);
    slash[17] = b'/';
    assert_eq!(with(&[slash]), Err("site id"));
}

proptest::proptest! {
    #[test]
    fn any_plaintext_is_a_state_or_refused(bytes: Vec<u8>, at: proptest::sample::Index, byte: u8) {
        let _ = decode(&bytes);
        let mut changed = plain(&state());
        let at = at.index(changed.len());
        changed[at] = byte;
        let _ = decode(&changed).map(|s| plain(&s));
    }
}

#[test]
fn a_wrapped_key_that_is_too_long_is_not_written() {
    let wrapped = Wrapped { version: 1, bytes: vec![0; 4_097] };
    let e = error(encode(
        &state(),
        ProviderKind::KeyFile,
        &wrapped,
        &data_key(),
        &[6; 12],
        &mut no_parts(),
    ));
    assert!(matches!(e, Error::Input(InputError::Option { .. })));
}
