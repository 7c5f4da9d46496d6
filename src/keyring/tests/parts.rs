//! Parts: what a change writes and reads of a large keyring, what becomes of older parts, and how damaged ones are mended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::*;
use crate::env::{Counted, Counts, Disk, Entry, File, Locking, Mode, RealDisk};
use crate::error::Damage;
use crate::ids::FileId;
use crate::keyring::coding::{Loader, Sealer};
use crate::keyring::part::{self, Of, Stand};
use crate::keyring::pieces::{Content, Editing, Piece};
use crate::keyring::place::{Place, Placed};
use crate::keyring::site::Record;

/// Small enough that a few sessions are kept in parts, and parts of parts.
const SMALL: usize = 2_048;
/// Multiples of it are spread over all places.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn places(count: u64) -> Vec<u64> {
    (1..=count).map(|n| n.wrapping_mul(GOLDEN)).collect()
}

/// A disk that counts.
fn counting(setup: &Setup) -> (Env, Arc<Counted>) {
    let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
    (Env { disk: Arc::clone(&disk) as _, ..setup.env.clone() }, disk)
}

/// A keyring of one site with some sessions erased, of others, and small parts.
fn large(setup: &Setup, env: &Env, sites: u32, erased: u64) -> Keyring {
    let keyring =
        Keyring::create(env, &setup.mirrors, setup.provider(), SMALL, any_store(env)).unwrap();
    fill(&keyring, sites, erased);
    keyring
}

fn fill(keyring: &Keyring, sites: u32, erased: u64) {
    let fill = |next: &mut Next<'_>| {
        let shop = next.add_site(id("shop"), 30, 5)?;
        (0..sites).try_for_each(|n| next.add_site(id(&format!("s-{n}")), 30, 5).map(drop))?;
        Ok(next.puncture(&shop.handle(), &places(erased)))
    };
    assert_eq!(keyring.change(fill).unwrap().0 as u64, erased);
}

fn reopen(setup: &Setup, read_only: bool) -> Result<Keyring> {
    Keyring::open(&setup.env, &setup.mirrors, setup.provider(), read_only, SMALL)
}

fn erase(keyring: &Keyring, place: u64) -> Published {
    let site = keyring.site(&id("shop")).unwrap().handle();
    let edit = |next: &mut Next<'_>| Ok(next.puncture(&site, &[place]));
    let (removed, published) = keyring.change(edit).unwrap();
    assert_eq!(removed, 1);
    published
}

/// The files of parts in one mirror.
fn parts(setup: &Setup, mirror: usize) -> BTreeMap<String, Vec<u8>> {
    let Ok(dir) = fs::read_dir(parts_dir(setup, mirror)) else { return BTreeMap::new() };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    dir.map(read).collect()
}

fn parts_dir(setup: &Setup, mirror: usize) -> PathBuf {
    setup.mirrors[mirror].with_extension("parts")
}

/// Every key of a part that a keyring holds, and every node of its site's tree.
fn keys(keyring: &Keyring) -> BTreeSet<[u8; 32]> {
    fn of<T: crate::keyring::pieces::Item>(piece: &Piece<T>, into: &mut BTreeSet<[u8; 32]>) {
        into.extend(piece.part().get().map(|part| *part.key.expose()));
        if let Content::Pieces(pieces) = piece.content() {
            pieces.iter().for_each(|piece| of(piece, into));
        }
    }
    let (live, mut keys) = (keyring.live.read(), BTreeSet::new());
    of(live.sites.top(), &mut keys);
    live.sites.iter().for_each(|record| of(record.tree.pieces().top(), &mut keys));
    keys
}

#[test]
fn a_keyring_in_parts_answers_as_one_in_one_file() {
    let (setup, erased) = (Setup::new(), places(120));
    let keyring = large(&setup, &setup.env, 400, 60);
    {
        let live = keyring.live.read();
        let shop = live.record(&live.site(&id("shop")).unwrap().handle()).unwrap();
        assert!(live.sites.top().height() >= 2, "parts of parts");
        assert!(shop.tree.height() >= 2, "of trees, too");
        let small = |bytes: u32| bytes as usize <= SMALL + 200;
        let sizes = live.sites.below().map(|piece| piece.part().get().unwrap().bytes);
        let of_tree = shop.tree.pieces().below().map(|piece| piece.part().get().unwrap().bytes);
        assert!(sizes.chain(of_tree).all(small));
    }
    let shop = keyring.site(&id("shop")).unwrap();
    let whole = |place: u64| shop.leaf(place).map(|key| *key.expose());
    let kept: Vec<_> = erased[60..].iter().map(|place| whole(*place).unwrap()).collect();
    assert!(erased[..60].iter().all(|place| whole(*place).is_none()));
    for place in &erased[60..90] {
        erase(&keyring, *place);
    }
    let remove = |next: &mut Next<'_>| {
        let gone = (0..150).map(|n| id(&format!("s-{n}")));
        let gone: Vec<_> = gone.map(|id| next.state_site(&id).unwrap()).collect();
        assert!(gone.iter().all(|handle| next.remove_site(handle)));
        next.add_site(id("late"), 30, 6).map(drop)
    };
    keyring.change(remove).unwrap();
    for (keyring, from) in [(&keyring, "memory"), (&reopen(&setup, false).unwrap(), "disk")] {
        let shop = keyring.site(&id("shop")).unwrap();
        for (n, place) in erased.iter().enumerate() {
            let expected = n.checked_sub(90).map(|_| kept[n - 60]);
            assert_eq!(shop.leaf(*place).map(|k| *k.expose()), expected, "{n} from {from}");
        }
        assert_eq!(keyring.sites().len(), 252);
        assert!(keyring.site(&id("late")).is_some() && keyring.site(&id("s-0")).is_none());
        assert!(keyring.site(&id("s-199")).is_some() && keyring.erased(&id("s-149")));
    }
    assert_eq!(
        keyring.status().unwrap().nodes,
        reopen(&setup, true).unwrap().status().unwrap().nodes
    );
}

#[test]
fn a_keyring_that_loses_all_its_sites_loses_its_parts() {
    let setup = Setup::new();
    let keyring = large(&setup, &setup.env, 60, 20);
    assert!(parts(&setup, 0).len() > 10);
    let handles: Vec<_> = keyring.sites().iter().map(|site| site.handle()).collect();
    let edit = |next: &mut Next<'_>| Ok(handles.iter().all(|handle| next.remove_site(handle)));
    assert!(keyring.change(edit).unwrap().0);
    assert!(parts(&setup, 0).is_empty() && parts(&setup, 1).is_empty());
    assert!(reopen(&setup, false).unwrap().sites().is_empty());
    fill(&keyring, 60, 20);
    assert_eq!(reopen(&setup, false).unwrap().sites().len(), 61);
}

/// What one erasure does to the disk, in a keyring of this size.
fn cost(sites: u32, erased: u64) -> (Counts, u64) {
    let setup = Setup::new();
    let (env, disk) = counting(&setup);
    let keyring = large(&setup, &env, sites, erased);
    erase(&keyring, 7);
    let before = (disk.counts(), keyring.status().unwrap().bytes);
    erase(&keyring, u64::MAX / 3);
    (disk.counts() - before.0, keyring.status().unwrap().bytes - before.1)
}

#[test]
fn what_an_erasure_costs_does_not_grow_with_the_keyring() {
    let ((small, _), (large, grown)) = (cost(20, 10), cost(2_000, 1_000));
    // One more level each of sites and nodes, where a part has room for 35 others: two parts more in each mirror.
    println!("{small:?}\n{large:?}, grown by {grown} bytes");
    assert!(large.writes <= small.writes + 8, "{} and {} writes", small.writes, large.writes);
    assert!(large.written_bytes < 80 * 1_024, "{} bytes", large.written_bytes);
    assert!(large.syncs + large.dir_syncs <= small.syncs + small.dir_syncs + 8);
}

#[test]
fn an_erased_session_takes_at_most_two_kib() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("shop"), 30, 5).unwrap().handle();
    let mut bytes = keyring.status().unwrap().bytes;
    for (n, place) in places(100).into_iter().enumerate() {
        keyring.change(|next| Ok(next.puncture(&site, &[place]))).unwrap();
        let now = keyring.status().unwrap().bytes;
        // The first of a tree takes most: 64 keys and 25 bytes of shape in place of one key and one.
        let most = if n == 0 { 2_041 } else { 2_048 };
        let split = if now > PART_BYTES as u64 { 512 } else { 0 };
        assert!(now - bytes <= most + split, "{n}: {}", now - bytes);
        bytes = now;
    }
    assert!(bytes / 100 <= 2_048);
}

#[test]
fn nothing_that_is_left_holds_the_key_of_a_part_that_changed() {
    let setup = Setup::new();
    let keyring = large(&setup, &setup.env, 60, 40);
    let (before, files) = (keys(&keyring), parts(&setup, 0));
    erase(&keyring, 7);
    let (after, left) = (keys(&keyring), parts(&setup, 0));
    let gone: Vec<_> = files.keys().filter(|name| !left.contains_key(*name)).collect();
    let dropped = before.difference(&after).count();
    assert!(dropped >= 2 && dropped == gone.len(), "{dropped} keys and {} files", gone.len());
    assert!(after.intersection(&before).count() > 10, "what did not change keeps its key");
    // Whatever is left is read again from disk alone.
    assert_eq!(keys(&reopen(&setup, true).unwrap()), after);
    assert_eq!(left.len(), after.len());
    assert_eq!(left, parts(&setup, 1));
}

#[test]
fn a_reader_reads_only_parts_that_it_does_not_have() {
    let setup = Setup::new();
    let writer = large(&setup, &setup.env, 300, 100);
    let (env, disk) = counting(&setup);
    let reader = Keyring::open(&env, &setup.mirrors, setup.provider(), true, SMALL).unwrap();
    let opening = disk.counts().reads;
    let held = reader.site(&id("shop")).unwrap();
    let other = reader.site(&id("s-7")).unwrap();
    erase(&writer, 7);
    let before = disk.counts();
    assert!(held.leaf(7).is_some() && reader.refresh().unwrap() && held.leaf(7).is_none());
    let reads = (disk.counts() - before).reads;
    assert!(reads < 20 && opening > 100, "{reads} of {opening} reads");
    assert!(Arc::ptr_eq(&other, &reader.site(&id("s-7")).unwrap()));
    assert!(Arc::ptr_eq(&held, &reader.site(&id("shop")).unwrap()));
}

/// A disk on which something happens with each so-and-so-many-th part that is opened.
struct Meddled {
    opened: AtomicU32,
    every: u32,
    meanwhile: Box<dyn Fn(u32) + Send + Sync>,
}

impl Disk for Meddled {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        if path.parent().and_then(Path::extension).is_some_and(|e| e == "parts") {
            let opened = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
            if opened.is_multiple_of(self.every) {
                (self.meanwhile)(opened / self.every);
            }
        }
        RealDisk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename_new(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }
    fn lock(&self, path: &Path, note: &str) -> io::Result<Locking> {
        RealDisk.lock(path, note)
    }
}

/// A reader that began anew each time a part had gone away under it never came to an end beside a writer that erased fast enough.
#[test]
fn a_reader_comes_to_an_end_beside_a_writer_that_is_faster() {
    let setup = Setup::new();
    let writer = large(&setup, &setup.env, 100, 300);
    let erased = places(1000);
    let meanwhile = move |nth: u32| drop(erase(&writer, erased[300 + nth as usize]));
    let disk = Meddled { opened: AtomicU32::new(0), every: 15, meanwhile: Box::new(meanwhile) };
    let disk = Arc::new(disk);
    let env = Env { disk: Arc::clone(&disk) as _, ..setup.env.clone() };
    let reader = Keyring::open(&env, &setup.mirrors, setup.provider(), true, SMALL).unwrap();
    assert!(disk.opened.load(Ordering::Relaxed) > 100);
    assert!(reader.generation() > 10);
}

#[test]
fn a_part_that_one_mirror_lost_is_taken_from_the_other_and_mended() {
    let setup = Setup::new();
    drop(large(&setup, &setup.env, 60, 20));
    let whole = parts(&setup, 0);
    let spoil = |n: usize, mirror: usize| {
        let name = whole.keys().nth(n).unwrap();
        let path = parts_dir(&setup, mirror).join(name);
        match n % 3 {
            0 => fs::remove_file(path).unwrap(),
            1 => fs::write(path, &whole[name][..50]).unwrap(),
            _ => {
                let mut bytes = whole[name].clone();
                bytes[70] ^= 1;
                fs::write(path, bytes).unwrap();
            }
        }
    };
    // Each mirror lost some, but none is lost in both.
    (0..whole.len()).for_each(|n| spoil(n, n / 3 % 2));
    let spoilt = [parts(&setup, 0), parts(&setup, 1)];
    let reader = reopen(&setup, true).unwrap();
    assert_eq!(reader.sites().len(), 61);
    let states = reader.check();
    assert!(states.iter().all(|m| matches!(m.state, MirrorState::Damaged(_))), "{states:?}");
    assert_eq!([parts(&setup, 0), parts(&setup, 1)], spoilt, "a reader writes nothing");
    let writer = reopen(&setup, false).unwrap();
    assert_eq!([parts(&setup, 0), parts(&setup, 1)], [whole.clone(), whole]);
    assert!(writer.check().iter().all(|mirror| mirror.state == MirrorState::Whole));
}

#[test]
fn a_part_that_all_mirrors_lost_is_named() {
    let setup = Setup::new();
    drop(large(&setup, &setup.env, 60, 20));
    let (whole, key) = (parts(&setup, 0), setup.key());
    for (n, (name, bytes)) in whole.iter().enumerate() {
        let paths = [0, 1].map(|mirror| parts_dir(&setup, mirror).join(name));
        let (expected, spoilt) = match n % 3 {
            0 => (Damage::Missing, None),
            1 => (Damage::Truncated, Some(bytes[..bytes.len() - 1].to_vec())),
            _ => (Damage::Swapped, Some(whole.values().nth(n - 1).unwrap().clone())),
        };
        for path in &paths {
            match &spoilt {
                Some(spoilt) => fs::write(path, spoilt).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        for read_only in [true, false] {
            let e = error(reopen(&setup, read_only));
            assert_eq!(damage(&e), Some(expected));
            assert!(e.to_string().contains(name), "{e}");
        }
        // Nothing was done about it that could not be undone.
        paths.iter().for_each(|path| fs::write(path, bytes).unwrap());
    }
    assert_eq!(setup.key(), key);
    assert_eq!(reopen(&setup, false).unwrap().sites().len(), 61);
}

#[test]
fn a_part_opens_at_its_place_alone() {
    let stand = Stand {
        store: StoreId([1; 16]),
        of: Of::Tree(SiteHandle([2; 16])),
        place: Place::ROOT.half(1),
        height: 1,
    };
    let random = crate::env::RealRandom;
    let fill = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"nodes");
        Ok(())
    };
    let (part, bytes) = part::seal(&random, &stand, 5, fill).unwrap();
    assert_eq!(&*part::open("part", &bytes, &part, &stand).unwrap(), b"nodes");
    assert_eq!(&bytes[..8], b"RVLTKEYP");
    assert_eq!(&bytes[32..36], b"RVkp");
    assert_eq!(bytes.len(), 32 + 32 + 5 + 16);
    let elsewhere = [
        Stand { store: StoreId([9; 16]), ..stand },
        Stand { of: Of::Tree(SiteHandle([9; 16])), ..stand },
        Stand { of: Of::Sites, ..stand },
        Stand { place: Place::ROOT.half(0), ..stand },
        Stand { place: Place::ROOT, ..stand },
        Stand { height: 0, ..stand },
    ];
    for stand in elsewhere {
        let e = error(part::open("part", &bytes, &part, &stand));
        assert_eq!(damage(&e), Some(Damage::Tampered));
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(damage(&error(part::open("part", &bad, &part, &stand))).is_some(), "byte {at}");
    }
    for len in 0..bytes.len() {
        assert!(damage(&error(part::open("part", &bytes[..len], &part, &stand))).is_some());
    }
    let too_large = part::seal(&random, &stand, 1 << 20, |_| Ok(()));
    assert!(matches!(error(too_large), Error::Input(_)));
}

#[test]
fn a_mirror_that_was_emptied_is_filled_by_the_next_change() {
    let setup = Setup::new();
    let keyring = large(&setup, &setup.env, 60, 20);
    fs::remove_dir_all(parts_dir(&setup, 1)).unwrap();
    fs::remove_file(&setup.mirrors[1]).unwrap();
    erase(&keyring, 7);
    assert_eq!(parts(&setup, 0), parts(&setup, 1));
    assert!(keyring.check().iter().all(|mirror| mirror.state == MirrorState::Whole));
    // The same for one that is new.
    let third = setup.dir.path("c/keyring");
    keyring.add_mirror(&third).unwrap();
    let alone = [third];
    let alone = Keyring::open(&setup.env, &alone, setup.provider(), false, SMALL).unwrap();
    assert_eq!(alone.sites().len(), 61);
}

#[test]
fn parts_without_a_name_go_with_the_next_change() {
    let setup = Setup::new();
    drop(large(&setup, &setup.env, 60, 20));
    let stray = FileId([7; 16]).to_string();
    let notes = parts_dir(&setup, 0).join("notes");
    fs::write(&notes, b"not a part").unwrap();
    for mirror in [0, 1] {
        fs::write(parts_dir(&setup, mirror).join(&stray), b"left by a crash").unwrap();
    }
    let keyring = reopen(&setup, false).unwrap();
    assert!(parts(&setup, 0).contains_key(&stray), "it may be of a generation that is not here");
    keyring.rotate().unwrap();
    assert!(!parts(&setup, 0).contains_key(&stray) && !parts(&setup, 1).contains_key(&stray));
    assert!(notes.exists());
    assert_eq!(reopen(&setup, true).unwrap().sites().len(), 61);
}

#[test]
fn an_older_keyring_does_not_take_the_place_of_one_that_lost_a_part() {
    let setup = Setup::new();
    let light = crate::keyring::passphrase::LIGHT;
    let provider = Arc::new(Passphrase::with_cost(&setup.env, "secret", light).unwrap());
    let store = any_store(&setup.env);
    let keyring =
        Keyring::create(&setup.env, &setup.mirrors, provider.clone(), SMALL, store).unwrap();
    let old = setup.bytes(0);
    fill(&keyring, 60, 20);
    setup.put(1, &old);
    let name = parts(&setup, 0).into_keys().next().unwrap();
    for mirror in [0, 1] {
        fs::remove_file(parts_dir(&setup, mirror).join(&name)).unwrap();
    }
    for read_only in [true, false] {
        let open = Keyring::open(&setup.env, &setup.mirrors, provider.clone(), read_only, SMALL);
        assert_eq!(damage(&error(open)), Some(Damage::Missing));
    }
    assert_eq!(setup.bytes(1), old);
}

/// What may be done to a list of sites and their trees.
#[derive(Debug, Clone)]
enum Step {
    Add,
    Remove(usize),
    Erase(usize, Vec<u64>),
    Reload,
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    prop_oneof![
        4 => Just(Step::Add),
        1 => any::<usize>().prop_map(Step::Remove),
        4 => (any::<usize>(), prop::collection::vec(any::<u64>(), 1..6))
            .prop_map(|(site, places)| Step::Erase(site, places)),
        1 => Just(Step::Reload),
    ]
}

/// Parts in memory.
#[derive(Default)]
struct InMemory(BTreeMap<FileId, Vec<u8>>);

impl crate::keyring::coding::Parts for InMemory {
    fn read(
        &mut self,
        part: &part::Part,
        stand: &Stand,
    ) -> Result<(zeroize::Zeroizing<Vec<u8>>, String)> {
        let name = part.id.to_string();
        let bytes = &self.0[&part.id];
        assert_eq!(bytes.len(), part.bytes as usize);
        Ok((part::open(&name, bytes, part, stand)?, name))
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// The oracle is a tree in one piece for each site. Places are random, and some removed at several sites.
    #[test]
    fn states_in_parts_agree_with_trees_in_one_piece(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let key = |n: u8| Key::take(&mut [n; 32]);
        let mut state = State::new(StoreId([1; 16]), key(1), key(2), 600);
        let mut disk = InMemory::default();
        let mut oracle: Vec<(SiteHandle, Tree)> = Vec::new();
        let mut erased: Vec<u64> = vec![0, u64::MAX];
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Add => {
                    let mut handle = SiteHandle([n as u8; 16]);
                    handle.0[..8].copy_from_slice(&(n as u64 + 1).wrapping_mul(GOLDEN).to_be_bytes());
                    let tree = Tree::new(SITE_DEPTH, key(n as u8));
                    let name = id(&format!("site-{n}"));
                    let site = Site::new(name, handle, 0, 30, key(3), tree.clone());
                    assert!(state.insert(Record::new(Arc::new(site), tree.clone())));
                    oracle.push((handle, tree));
                }
                Step::Remove(at) if !oracle.is_empty() => {
                    let (handle, _) = oracle.remove(at % oracle.len());
                    assert!(state.remove(&handle).is_some() && state.remove(&handle).is_none());
                }
                Step::Erase(at, places) if !oracle.is_empty() => {
                    let at = at % oracle.len();
                    let (handle, tree) = &mut oracle[at];
                    let expected = tree.puncture(&places, &mut Editing::new(usize::MAX));
                    assert_eq!(state.puncture(handle, &places), expected);
                    erased.extend(places);
                }
                Step::Reload => {
                    let mut text = Vec::new();
                    let mut sealer = Sealer::new(&crate::env::RealRandom, state.store_id);
                    state.encode(&mut text, &mut sealer).unwrap();
                    assert!(text.len() <= state.encoded_bytes_max());
                    disk.0.extend(sealer.made);
                    for id in std::mem::take(&mut state.edit.dropped) {
                        assert!(disk.0.remove(&id).is_some(), "it was there, and once");
                    }
                    let named: BTreeSet<_> = state.parts().collect();
                    assert_eq!(named, disk.0.keys().copied().collect());
                    let mut loader = Loader::new(&mut disk, None);
                    state = State::decode(&text, &mut loader, 600).unwrap();
                }
                _ => {}
            }
        }
        assert_eq!(state.sites.len(), oracle.len());
        let in_order = state.sites.iter().map(|record| record.place().first());
        assert!(in_order.is_sorted());
        for (handle, tree) in &oracle {
            let record = state.record(handle).unwrap();
            assert_eq!(record.tree.node_count(), tree.node_count());
            for place in erased.iter().flat_map(|place| [*place, place ^ 1, place.wrapping_add(1)]) {
                let leaf = |tree: &Tree| tree.leaf(place).map(|key| *key.expose());
                assert_eq!(leaf(&record.tree), leaf(tree));
            }
        }
    }
}
