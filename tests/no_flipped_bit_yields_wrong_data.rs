//! A bit flips, a file ends early, is swapped for another, is an older version of itself or is gone.
//!
//! Whatever is done to the bytes of a finished store, a reader gets what was sent or an error that says where the
//! damage is: never other data, never a panic, never an allocation on the word of a damaged length. Other sites go on.
//! One thing alone ends without an error: the last frames of a journal may be damaged and count as torn.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "an allocator that watches for large allocations")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

use common::session_id;
use common::spoil::{LARGE, Original, Outcome, Tail, typed};
use reelvault::env::sim::{SimDisk, Survival};
use reelvault::{Damage, Depth, Error, Query, Recovery, SiteId, Store, VisitorId};

/// Watches for the largest allocation.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// As the limits have it for the largest unit of an index.
const ALLOCATION_MAX: usize = 64 << 20;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        LARGEST.fetch_max(bytes, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, bytes) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| Original::new(1));

fn no_large_allocation() {
    let largest = LARGEST.load(Relaxed);
    assert!(largest <= ALLOCATION_MAX, "{largest} bytes were allocated at once");
}

/// One bit of a byte, another one for each byte.
fn bit(offset: u64) -> u8 {
    1 << (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61)
}

/// Ends the process if what it watches takes so long that it must be an endless loop.
struct Watchdog(#[allow(dead_code, reason = "dropping it ends the watch")] Sender<()>);

/// A look takes milliseconds.
const LOOK: Duration = Duration::from_secs(20);

impl Watchdog {
    fn new(doing: String) -> Self {
        let (done, ended) = std::sync::mpsc::channel();
        let started = RUNNING.get_or_init(|| {
            let (watch, watched) = std::sync::mpsc::channel::<Watched>();
            std::thread::spawn(move || {
                for (doing, ended) in watched {
                    if ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                        println!("an endless loop: {doing}");
                        std::process::exit(101);
                    }
                }
            });
            Mutex::new(watch)
        });
        started.lock().unwrap().send((doing, ended)).unwrap();
        Self(done)
    }
}

/// What is being watched, and how its end is told.
type Watched = (String, Receiver<()>);

static RUNNING: OnceLock<Mutex<Sender<Watched>>> = OnceLock::new();

/// Runs `look` with one bit flipped in the file, for each of the offsets, and puts the bit back.
fn each_flip(
    disk: &SimDisk,
    file: &Path,
    offsets: impl Iterator<Item = u64>,
    mut look: impl FnMut(u64),
) -> u64 {
    let mut flips = 0;
    for offset in offsets {
        let _watched = Watchdog::new(format!("{} with a bit flipped at {offset}", file.display()));
        disk.corrupt(file, offset, bit(offset)).unwrap();
        look(offset);
        disk.corrupt(file, offset, bit(offset)).unwrap();
        flips += 1;
    }
    flips
}

fn bytes_of(disk: &SimDisk, file: &Path) -> u64 {
    disk.file_bytes(file).unwrap().len() as u64
}

/// The sites whose data a file holds, as indexes: those of its shard.
fn name_of(file: &Path) -> String {
    let all: Vec<_> = file.iter().map(|p| p.to_string_lossy()).collect();
    all[all.len() - 2..].join("/")
}

/// The segments in order, and which of them holds the large session.
fn segments(original: &Original) -> (Vec<PathBuf>, PathBuf) {
    let files = original.files("/segment/");
    let largest = files.iter().max_by_key(|f| bytes_of(&original.disk, f)).unwrap().clone();
    assert_eq!(files.len(), 10);
    (files, largest)
}

/// Looks at a store that is open already while a bit of a segment is flipped: reading, and `verify`.
fn flip_segment(file: &Path, offsets: impl Iterator<Item = u64>) -> (u64, Outcome) {
    let original = &*ORIGINAL;
    let disk = original.copy();
    // Which sessions the file holds shows when it is gone.
    let held = held_by(&disk, file);
    let store = original.open_uncached(&disk);
    let name = name_of(file);
    let mut outcome = Outcome::default();
    let mut undetected = Vec::new();
    let flips = each_flip(&disk, file, offsets, |offset| {
        let one = original.look_at(&store, Tail::MustBeWhole, |at, name| {
            held.iter().any(|(a, n)| *a == at && n == name)
        });
        outcome += one;
        let depth = if offset % 64 == 0 { Depth::Content } else { Depth::Digests };
        let found = store.verify(depth, |_, _| ()).unwrap();
        let named = |e: &Error| match e {
            Error::Corrupt(c) => c.file == name,
            Error::Unsupported { file, .. } => *file == name,
            _ => false,
        };
        found.damage.iter().for_each(|e| assert!(typed(e)));
        if !found.damage.iter().any(named) {
            undetected.push(offset);
        }
        if one.partly > 0 {
            assert!(!found.is_sound());
        }
    });
    assert!(undetected.is_empty(), "{name}: verify does not see flips at {undetected:?}");
    (flips, outcome)
}

/// The sessions that a segment holds a part of.
fn held_by(disk: &SimDisk, file: &Path) -> Vec<(usize, String)> {
    let original = &*ORIGINAL;
    let bytes = disk.file_bytes(file).unwrap();
    disk.remove_file(file).unwrap();
    let store = original.open_read_only(disk, Recovery::Strict).unwrap();
    let hurt = |at: usize, name: &str| {
        let site = store.site(&original.sites[at]).unwrap();
        let id = session_id(name);
        site.replay(&id).map(|mut r| r.write_to(&mut std::io::sink())).is_err()
    };
    // A lookup asks every segment of the shard; the ones whose own listing lacks them are the ones held here.
    let mut held = Vec::new();
    for at in 0..original.sites.len() {
        let site = store.site(&original.sites[at]).unwrap();
        let page = site.sessions(&Query::new().limit(1000)).unwrap();
        for (_, name) in original.sent.keys().filter(|(a, _)| *a == at) {
            let listed = page.sessions.iter().find(|s| s.id.as_str() == name);
            let whole = listed.is_some_and(|s| *s == original.infos[&(at, name.clone())]);
            if !whole {
                assert!(hurt(at, name));
                held.push((at, name.clone()));
            }
        }
    }
    assert!(!held.is_empty());
    disk.write_file(file, &bytes).unwrap();
    held
}

#[test]
#[ignore = "slow: half a minute"]
fn in_every_byte_of_the_segments() {
    let (files, large) = segments(&ORIGINAL);
    let (mut flips, mut outcome) = (0, Outcome::default());
    for file in files.iter().filter(|f| **f != large) {
        let (n, one) = flip_segment(file, 0..bytes_of(&ORIGINAL.disk, file));
        flips += n;
        outcome += one;
    }
    println!("segments: {flips} flips, {outcome:?}");
    assert!(flips > 10_000 && outcome.partly > 10_000, "{flips} {outcome:?}");
    no_large_allocation();
}

#[test]
fn in_a_segment_with_blocks_of_megabytes() {
    let (_, large) = segments(&ORIGINAL);
    let bytes = ORIGINAL.disk.file_bytes(&large).unwrap();
    // Every byte of the headers of units and of the footer, and a stride through the bodies.
    let units = units(&bytes);
    let in_header = |n: u64| units.iter().any(|u| (u.0..u.0 + 32).contains(&(n as usize)));
    let all = bytes.len() as u64;
    let offsets = (0..all).filter(|n| in_header(*n) || n + 48 > all || n % 31 == 0);
    let (flips, outcome) = flip_segment(&large, offsets);
    println!("the large segment: {flips} flips of {all} bytes, {outcome:?}");
    assert!(flips > 500, "{flips}");
    no_large_allocation();
}

#[test]
fn in_segments_of_a_store_that_is_opened_afterwards() {
    let original = &*ORIGINAL;
    let (files, _) = segments(original);
    let (mut flips, mut outcome) = (0, Outcome::default());
    for file in files {
        let disk = original.copy();
        let bytes = bytes_of(&disk, &file);
        flips += each_flip(&disk, &file, (0..bytes).step_by(97), |offset| {
            let one = original.open_and_look(&disk, offset, Tail::MustBeWhole);
            assert_eq!(one.refused, 0, "a store opens whatever its segments are");
            outcome += one;
        });
    }
    println!("segments, opened afterwards: {flips} flips, {outcome:?}");
    no_large_allocation();
}

#[test]
#[ignore = "slow: half a minute"]
fn in_every_byte_of_the_journals() {
    let original = &*ORIGINAL;
    let files = original.files("/journal/");
    assert_eq!(files.len(), 4);
    let (mut flips, mut outcome) = (0, Outcome::default());
    for file in files {
        let disk = original.copy();
        let bytes = bytes_of(&disk, &file);
        let content = disk.file_bytes(&file).unwrap();
        let end = content.iter().rposition(|b| *b != 0).unwrap() as u64 + 8;
        // The pages of zeros between the head and the frames and after the frames are strided.
        let offsets = (0..bytes).filter(|n| match n {
            0..200 => true,
            200..4096 => n % 61 == 0,
            n if *n < end => n % 2 == 0 || n % 8 == 3,
            n => n % 509 == 0,
        });
        let whole = outcome.whole;
        flips += each_flip(&disk, &file, offsets, |offset| {
            let one = original.open_and_look(&disk, offset, Tail::MayBeTorn);
            if offset < 4096 {
                assert_eq!(one.refused, 1, "the head of a journal is bad at {offset}");
            }
            outcome += one;
        });
        if bytes > end + 4096 {
            assert!(outcome.whole > whole, "zeros after the frames do not matter");
        }
    }
    println!("journals: {flips} flips, {outcome:?}");
    assert!(flips > 5_000 && outcome.refused > 2_000, "{flips} {outcome:?}");
    no_large_allocation();
}

#[test]
fn verify_sees_every_flip_in_a_frame_of_an_open_store() {
    let original = &*ORIGINAL;
    let disk = original.copy();
    let store = original.open_uncached(&disk);
    let (mut flips, mut padding) = (0, 0);
    for file in original.files("/journal/") {
        let name = name_of(&file);
        let content = disk.file_bytes(&file).unwrap();
        let end = content.iter().rposition(|b| *b != 0).unwrap() as u64 + 1;
        flips += each_flip(&disk, &file, 4096..end, |offset| {
            let found = store.verify(Depth::Digests, |_, _| ()).unwrap();
            if found.is_sound() {
                // At most seven zeros between a frame and the next belong to neither.
                let zeros = content[offset as usize] == 0;
                let next = (offset as usize).next_multiple_of(8);
                assert!(zeros && content[next..].starts_with(b"RVfr"), "{name} at {offset}");
                padding += 1;
                return;
            }
            let named = |e: &Error| matches!(e, Error::Corrupt(c) if c.file == name);
            assert!(found.damage.iter().all(named), "{:?}", found.damage);
        });
    }
    println!("frames of an open store: {flips} flips, all seen by verify but {padding} in padding");
    assert!(flips > 5_000 && padding * 50 < flips);
}

#[test]
fn in_every_byte_of_the_manifest() {
    let original = &*ORIGINAL;
    let disk = original.copy();
    let file = PathBuf::from("/store/manifest");
    let bytes = bytes_of(&disk, &file);
    let mut outcome = Outcome::default();
    let flips = each_flip(&disk, &file, 0..bytes, |offset| {
        outcome += original.open_and_look(&disk, offset, Tail::MustBeWhole);
    });
    println!("the manifest: {flips} flips, {outcome:?}");
    assert_eq!(outcome.refused, flips, "no byte of it may differ");
    no_large_allocation();
}

#[test]
#[ignore = "slow: a sixth of a minute"]
fn in_every_byte_of_the_keyring() {
    let original = &*ORIGINAL;
    let mirrors = original.files("/keys/").into_iter().filter(|p| p.ends_with("keyring"));
    let mirrors: Vec<PathBuf> = mirrors.collect();
    assert_eq!(mirrors.len(), 2);
    let disk = original.copy();
    let bytes = bytes_of(&disk, &mirrors[0]);
    let mut outcome = Outcome::default();
    // One mirror is bad: the other one serves.
    let mut flips = 0;
    for mirror in &mirrors {
        flips += each_flip(&disk, mirror, 0..bytes, |_| {
            match original.open_read_only(&disk, Recovery::Strict) {
                Ok(store) => outcome += original.look_at(&store, Tail::MustBeWhole, few),
                Err(e) => panic!("a good mirror is there: {e}"),
            }
        });
        let step = if *mirror == mirrors[0] { 7 } else { 11 };
        flips += each_flip(&disk, mirror, (0..bytes).step_by(step), |offset| {
            let copy = disk.crash_image(Survival::Everything);
            match original.open(&copy, Recovery::Strict, offset) {
                Ok(store) => outcome += original.look_at(&store, Tail::MustBeWhole, few),
                Err(e) => assert!(offset < 8 && typed(&e), "a good mirror is there: {e}"),
            }
        });
    }
    assert!(outcome.whole > flips - 10 && outcome.partly + outcome.shortened == 0);
    println!("a mirror of the keyring: {flips} flips, {outcome:?}");
    // Both are bad at the same place.
    let (mut outcome, mut flips) = (Outcome::default(), 0);
    for offset in 0..bytes {
        mirrors.iter().for_each(|m| disk.corrupt(m, offset, bit(offset)).unwrap());
        outcome += original.open_and_look(&disk, offset, Tail::MustBeWhole);
        mirrors.iter().for_each(|m| disk.corrupt(m, offset, bit(offset)).unwrap());
        flips += 1;
    }
    println!("both mirrors of the keyring: {flips} flips, {outcome:?}");
    assert_eq!(outcome.refused, flips, "no byte of it may differ");
    no_large_allocation();
}

/// Sessions enough to see that the keys are right.
fn few(_: usize, name: &str) -> bool {
    name.ends_with("-0-30-0")
}

#[test]
fn other_sites_go_on_when_one_site_is_damaged_in_a_segment() {
    // In each segment two sites have blocks and an index each. Whatever byte of one is bad, the other is read whole.
    let original = &*ORIGINAL;
    let (files, large) = segments(original);
    let disk = original.copy();
    let mut checked = 0;
    for file in files.iter().filter(|f| **f != large) {
        let held = held_by(&disk, file);
        let store = original.open_uncached(&disk);
        let bytes = bytes_of(&disk, file);
        each_flip(&disk, file, (32..bytes - 48).step_by(13), |offset| {
            let mut hurt = [false; 4];
            let mut named = Vec::new();
            for (at, name) in &held {
                let site = store.site(&original.sites[*at]).unwrap();
                let replayed = site.replay(&session_id(name)).and_then(|mut r| {
                    match r.write_to(&mut std::io::sink()) {
                        Ok(_) => Ok(()),
                        Err(reelvault::ReplayError::Read(e)) => Err(e),
                        Err(e) => panic!("{e}"),
                    }
                });
                if let Err(e) = replayed {
                    hurt[*at] = true;
                    named.push(site_of(&e));
                }
            }
            // A page of visitors is read for a listing alone.
            for at in held.iter().map(|h| h.0) {
                let site = store.site(&original.sites[at]).unwrap();
                let visitor = VisitorId::new("visitor-of-everything").unwrap();
                let page = site.sessions(&Query::new().visitor(visitor).limit(1000)).unwrap();
                for e in page.damage {
                    hurt[at] = true;
                    named.extend(matches!(e, Error::Corrupt(_)).then(|| site_of(&e)));
                }
            }
            let sites = hurt.iter().filter(|h| **h).count();
            // The directory is of both; everything else is of one.
            let directory = content_from_directory(&disk, file);
            if offset < directory {
                assert!(sites == 1, "{} at {offset}: {sites} sites are hurt", file.display());
                let at = hurt.iter().position(|h| *h).unwrap();
                assert!(named.iter().all(|s| s.as_ref() == Some(&original.sites[at])), "{named:?}");
            }
            checked += 1;
        });
    }
    println!("one site of two: {checked} flips, the other site always whole");
}

fn site_of(e: &Error) -> Option<SiteId> {
    match e {
        Error::Corrupt(c) => c.site.clone(),
        e => panic!("{e:?}"),
    }
}

fn content_from_directory(disk: &SimDisk, file: &Path) -> u64 {
    let bytes = disk.file_bytes(file).unwrap();
    let footer = &bytes[bytes.len() - 48..];
    u64::from_le_bytes(*footer.first_chunk().unwrap())
}

/// Cuts a file at each length and looks.
fn each_cut(
    file: &Path,
    lengths: impl Iterator<Item = u64>,
    mut look: impl FnMut(&SimDisk, u64),
) -> u64 {
    let disk = ORIGINAL.copy();
    let bytes = disk.file_bytes(file).unwrap();
    let mut cuts = 0;
    for length in lengths {
        disk.write_file(file, &bytes[..length as usize]).unwrap();
        look(&disk, length);
        cuts += 1;
    }
    cuts
}

#[test]
fn no_file_that_ends_early_yields_wrong_data() {
    let original = &*ORIGINAL;
    let (mut cuts, mut outcome) = (0, Outcome::default());
    for file in original.files("/segment/") {
        let bytes = bytes_of(&original.disk, &file);
        let name = name_of(&file);
        // Every length is refused by one comparison, so a stride will do.
        cuts += each_cut(&file, (0..bytes).step_by(41).chain([bytes - 1]), |disk, length| {
            let one = original.open_and_look(disk, length, Tail::MustBeWhole);
            assert_eq!(one.partly, 1, "{name} cut at {length}");
            outcome += one;
        });
    }
    println!("segments: {cuts} cuts, {outcome:?}");
    for file in ["/store/manifest", "keys"] {
        let mirrors = original.files(if file == "keys" { "/keyring" } else { file });
        let disk = original.copy();
        let whole = disk.file_bytes(&mirrors[0]).unwrap();
        for length in 0..whole.len() {
            mirrors.iter().for_each(|m| disk.write_file(m, &whole[..length]).unwrap());
            let one = original.open_and_look(&disk, length as u64, Tail::MustBeWhole);
            assert_eq!(one.refused, 1, "{file} cut at {length}");
            outcome += one;
            cuts += 1;
        }
    }
    println!("with manifest and keyring: {cuts} cuts, {outcome:?}");
    no_large_allocation();
}

#[test]
#[ignore = "slow: a quarter of a minute"]
fn a_journal_that_ends_early_is_a_torn_tail_and_nothing_else() {
    let original = &*ORIGINAL;
    let (mut cuts, mut outcome) = (0, Outcome::default());
    for file in original.files("/journal/") {
        let content = original.disk.file_bytes(&file).unwrap();
        let end = content.iter().rposition(|b| *b != 0).unwrap() as u64 + 8;
        let bytes = content.len() as u64;
        let lengths = (0..bytes).filter(|n| match n {
            0..4096 => n % 67 == 0,
            n if *n < end => n % 3 == 0,
            n => n % 1021 == 0,
        });
        cuts += each_cut(&file, lengths, |disk, length| {
            let one = original.open_and_look(disk, length, Tail::MayBeTorn);
            if length < 4096 {
                assert_eq!(one.refused, 1, "cut at {length}");
            } else {
                assert_eq!(one.partly, 0, "cut at {length}");
            }
            outcome += one;
        });
    }
    println!("journals: {cuts} cuts, {outcome:?}");
    no_large_allocation();
}

#[test]
fn files_in_the_place_of_others_are_seen() {
    let original = &*ORIGINAL;
    let mut swaps = 0;
    for kind in ["/segment/", "/journal/"] {
        let files = original.files(kind);
        for (a, b) in files.iter().flat_map(|a| files.iter().map(move |b| (a, b))) {
            if a == b {
                continue;
            }
            let disk = original.copy();
            let (bytes_a, bytes_b) = (disk.file_bytes(a).unwrap(), disk.file_bytes(b).unwrap());
            disk.write_file(a, &bytes_b).unwrap();
            if swaps % 2 == 0 {
                disk.write_file(b, &bytes_a).unwrap();
            }
            let one = original.open_and_look(&disk, swaps, Tail::MustBeWhole);
            match kind {
                "/segment/" => assert_eq!(one.partly, 1, "{} for {}", b.display(), a.display()),
                _ => assert_eq!(one.refused, 1, "{} for {}", b.display(), a.display()),
            }
            swaps += 1;
        }
    }
    // A file of one kind in the place of another.
    for (a, b) in [
        ("/store/manifest", "/segment/"),
        ("/store/manifest", "/journal/"),
        ("/store/manifest", "/keys/a/keyring"),
        ("/journal/", "/segment/"),
        ("/journal/", "/store/manifest"),
    ] {
        let disk = original.copy();
        let from = disk.file_bytes(&original.files(b)[0]).unwrap();
        disk.write_file(&original.files(a)[0], &from).unwrap();
        let error = original.open_read_only(&disk, Recovery::Strict).err().unwrap();
        let foreign = matches!(&error, Error::Corrupt(c) if c.kind == Damage::Foreign);
        assert!(foreign, "{b} for {a}: {error}");
        swaps += 1;
    }
    println!("{swaps} swaps, all seen");
}

#[test]
fn files_of_another_store_are_seen() {
    let original = &*ORIGINAL;
    let other = Original::new(2);
    let mut swaps = 0;
    for kind in ["/segment/", "/journal/"] {
        for (ours, theirs) in original.files(kind).iter().zip(other.files(kind)) {
            let disk = original.copy();
            disk.write_file(ours, &other.disk.file_bytes(theirs).unwrap()).unwrap();
            let one = original.open_and_look(&disk, swaps, Tail::MustBeWhole);
            assert_eq!(one.whole + one.shortened, 0, "{}", ours.display());
            swaps += 1;
        }
    }
    let disk = original.copy();
    disk.write_file("/store/manifest", &other.disk.file_bytes("/store/manifest").unwrap()).unwrap();
    let error = original.open_read_only(&disk, Recovery::Strict).err().unwrap();
    assert!(matches!(&error, Error::WrongKey(_)), "{error}");
    println!("{swaps} files of another store, all seen");
}

/// Every unit of a segment: its offset and its bytes, header included.
fn units(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut units = Vec::new();
    let mut at = 32;
    while at + 48 < bytes.len() {
        let body = u32::from_le_bytes(*bytes[at + 8..].first_chunk().unwrap()) as usize;
        units.push((at, 32 + body));
        at += 32 + body;
    }
    assert_eq!(at + 48, bytes.len());
    units
}

#[test]
fn units_in_the_place_of_others_are_seen() {
    // Blocks of two sessions, of two sites, pages of two sites: their checksums are right, their seals are not of the place.
    let original = &*ORIGINAL;
    let (mut swaps, mut vague) = (0, Vec::new());
    for file in original.files("/segment/") {
        let disk = original.copy();
        let store = original.open_uncached(&disk);
        let bytes = disk.file_bytes(&file).unwrap();
        let units = units(&bytes);
        for (i, a) in units.iter().enumerate() {
            for b in &units[i + 1..] {
                // Of one length, or the offsets of all that follows would differ too.
                if a.1 != b.1 {
                    continue;
                }
                let mut swapped = bytes.clone();
                swapped[a.0..a.0 + a.1].copy_from_slice(&bytes[b.0..b.0 + b.1]);
                swapped[b.0..b.0 + b.1].copy_from_slice(&bytes[a.0..a.0 + a.1]);
                disk.write_file(&file, &swapped).unwrap();
                let one = original.look(&store, Tail::MustBeWhole);
                let found = store.verify(Depth::Content, |_, _| ()).unwrap();
                let sealed = |e: &Error| matches!(e, Error::Corrupt(c) if matches!(c.kind, Damage::Tampered | Damage::Malformed(_)));
                let kinds =
                    [a, b].map(|u| String::from_utf8_lossy(&bytes[u.0..u.0 + 4]).into_owned());
                assert_eq!(one.partly, 1, "{kinds:?}");
                if !found.damage.iter().any(sealed) {
                    vague.push((kinds, found.damage));
                }
                swaps += 1;
            }
        }
        disk.write_file(&file, &bytes).unwrap();
    }
    println!("{swaps} pairs of units swapped, all seen");
    let (n, first) = (vague.len(), vague.first());
    assert!(n == 0, "verify does not say that a seal is broken, and where, {n} times: {first:?}");
    assert!(swaps > 10, "{swaps}");
}

#[test]
fn frames_in_the_place_of_others_are_seen() {
    // A frame repeated at the end of its journal, or moved to another one, does not check there.
    let original = &*ORIGINAL;
    let files = original.files("/journal/");
    for from in &files {
        let bytes = original.disk.file_bytes(from).unwrap();
        let payload = u32::from_le_bytes(*bytes[4096 + 12..].first_chunk().unwrap()) as usize;
        let envelope = u32::from_le_bytes(*bytes[4096 + 8..].first_chunk().unwrap()) as usize;
        let frame = &bytes[4096..4096 + (76 + envelope + payload).next_multiple_of(8)];
        for to in &files {
            let disk = original.copy();
            let mut there = disk.file_bytes(to).unwrap();
            let end = (there.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8);
            there.resize(there.len().max(end + frame.len()), 0);
            there[end..end + frame.len()].copy_from_slice(frame);
            disk.write_file(to, &there).unwrap();
            let one = original.open_and_look(&disk, 0, Tail::MustBeWhole);
            assert_eq!(one.whole, 1, "it is no frame there, and everything else is");
        }
    }
}

#[test]
fn an_older_manifest_in_its_place_is_seen() {
    let original = &*ORIGINAL;
    let disk = original.copy();
    let mut older = vec![disk.file_bytes("/store/manifest").unwrap()];
    // Each opening with an append makes a journal, and a manifest that names it.
    for n in 0..3 {
        let store = original.open(&disk, Recovery::Strict, 50 + n).unwrap();
        let site = store.site(&original.sites[0]).unwrap();
        let name = format!("new-{n}");
        let chunk = common::chunk(&name, 0, common::NOON, 100);
        site.append(&common::session(&name), &chunk).unwrap();
        drop(store);
        older.push(disk.file_bytes("/store/manifest").unwrap());
    }
    let newest = older.pop().unwrap();
    let (mut unseen, mut lost) = (Vec::new(), Vec::new());
    for (n, old) in older.iter().enumerate() {
        // The journals that it does not name stand there, and their frames with them.
        let copy = disk.crash_image(Survival::Everything);
        copy.write_file("/store/manifest", old).unwrap();
        for writable in [false, true] {
            let opened = match writable {
                false => original.open_read_only(&copy, Recovery::Strict),
                true => original.open(&copy, Recovery::Strict, 55),
            };
            match opened.map(drop) {
                Err(Error::Corrupt(c)) => {
                    assert_eq!((c.kind, c.file.as_str()), (Damage::RolledBack, "manifest"));
                }
                Err(e) => panic!("{e}"),
                Ok(()) => unseen.push((n, writable)),
            }
        }
        // Whatever was answered, the right manifest finds everything that was acknowledged.
        copy.write_file("/store/manifest", &newest).unwrap();
        if let Err(e) = original.open_read_only(&copy, Recovery::Strict) {
            lost.push((n, e.to_string()));
        }
    }
    assert!(lost.is_empty(), "opening with an older manifest destroyed journals: {lost:?}");
    assert!(unseen.is_empty(), "older manifests not seen (which, opened for writing): {unseen:?}");
}

#[test]
fn a_journal_from_after_an_older_manifest_is_seen() {
    // Manifest and journal are put back together with a younger journal that the manifest names: a recycled one.
    let original = &*ORIGINAL;
    let disk = original.copy();
    let store = original.open(&disk, Recovery::Strict, 60).unwrap();
    store.archive().unwrap();
    let archived = disk.file_bytes("/store/manifest").unwrap();
    drop(store);
    let before = original.disk.file_bytes("/store/manifest").unwrap();
    disk.write_file("/store/manifest", &before).unwrap();
    // Its journals were archived and are gone.
    let error = original.open_read_only(&disk, Recovery::Strict).err().unwrap();
    assert!(matches!(&error, Error::Corrupt(c) if c.kind == Damage::Missing), "{error}");
    let error = original.open(&disk, Recovery::Strict, 61).err().unwrap();
    assert!(matches!(&error, Error::Corrupt(c) if c.kind == Damage::Missing), "{error}");
    // The refusal touched nothing: with the right manifest all is there.
    disk.write_file("/store/manifest", &archived).unwrap();
    let store = original.open_read_only(&disk, Recovery::Strict).unwrap();
    for ((at, name), chunks) in &original.sent {
        let site = store.site(&original.sites[*at]).unwrap();
        let mut out = Vec::new();
        site.replay(&session_id(name)).unwrap().write_to(&mut out).unwrap();
        assert_eq!(out, chunks.values().flatten().copied().collect::<Vec<u8>>());
    }
}

#[test]
fn a_missing_segment_is_named_and_the_others_go_on() {
    let original = &*ORIGINAL;
    for file in original.files("/segment/") {
        let disk = original.copy();
        let held = held_by(&disk, &file);
        disk.remove_file(&file).unwrap();
        for writable in [false, true] {
            let store = match writable {
                false => original.open_read_only(&disk, Recovery::Strict),
                true => original.open(&disk, Recovery::Strict, 70),
            };
            let store = store.unwrap();
            let name = name_of(&file);
            for (at, session) in original.sent.keys() {
                let site = store.site(&original.sites[*at]).unwrap();
                let page = site.sessions(&Query::new().limit(1000)).unwrap();
                let listed = page.sessions.iter().any(|s| {
                    s.id.as_str() == session && *s == original.infos[&(*at, session.clone())]
                });
                assert_eq!(listed, !held.contains(&(*at, session.clone())));
            }
            for (at, session) in &held {
                let site = store.site(&original.sites[*at]).unwrap();
                missing(&site.session(&session_id(session)).unwrap_err(), &name);
                missing(&site.replay(&session_id(session)).err().unwrap(), &name);
            }
            let found = store.verify(Depth::Digests, |_, _| ()).unwrap();
            assert_eq!(found.damage.len(), 1);
            missing(&found.damage[0], &name);
            going_on(original, &store, &held);
        }
    }
}

fn missing(e: &Error, name: &str) {
    match e {
        Error::Corrupt(c) => assert_eq!((c.kind, c.file.as_str()), (Damage::Missing, name)),
        e => panic!("{e:?}"),
    }
}

/// The sites of the other shard are whole.
fn going_on(original: &Original, store: &Store, held: &[(usize, String)]) {
    let hurt = held[0].0 / 2;
    let outcome = original.look_at(store, Tail::MustBeWhole, |at, _| at / 2 != hurt);
    assert_eq!(outcome.partly + outcome.whole, 1);
    for (at, name) in original.sent.keys().filter(|(at, _)| at / 2 != hurt) {
        let site = store.site(&original.sites[*at]).unwrap();
        assert!(site.sessions(&Query::new()).unwrap().damage.is_empty());
        assert_eq!(site.session(&session_id(name)).unwrap(), original.infos[&(*at, name.clone())]);
    }
}

#[test]
fn the_large_session_lies_in_two_blocks() {
    let (_, large) = segments(&ORIGINAL);
    let bytes = ORIGINAL.disk.file_bytes(&large).unwrap();
    let blocks = units(&bytes).iter().filter(|u| bytes[u.0..].starts_with(b"RVbk")).count();
    let sessions = held_by(&ORIGINAL.copy(), &large).len();
    assert_eq!(blocks, sessions + 1, "one session has two");
    assert!(ORIGINAL.infos[&(0, LARGE.to_owned())].raw_bytes > 4 << 20);
}

#[test]
fn a_replay_that_meets_damage_after_its_first_block_ends() {
    let (_, large) = segments(&ORIGINAL);
    let disk = ORIGINAL.copy();
    let bytes = disk.file_bytes(&large).unwrap();
    let held: Vec<_> =
        units(&bytes).into_iter().filter(|u| bytes[u.0..].starts_with(b"RVbk")).collect();
    for (at, _) in held {
        disk.corrupt(&large, at as u64 + 40, 1).unwrap();
        for writable in [false, true] {
            let copy = disk.crash_image(Survival::Everything);
            let (done, ended) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let store = match writable {
                    false => ORIGINAL.open_read_only(&copy, Recovery::Strict),
                    true => ORIGINAL.open(&copy, Recovery::Strict, 80),
                };
                let site = store.unwrap().site(&ORIGINAL.sites[0]).unwrap();
                let mut replay = site.replay(&session_id(LARGE)).unwrap();
                let _ = done.send(replay.write_to(&mut std::io::sink()).map_err(|e| e.to_string()));
            });
            let ended = ended.recv_timeout(LOOK / 4);
            assert!(ended.is_ok(), "block at {at}, opened for writing {writable}: it never ends");
        }
        disk.corrupt(&large, at as u64 + 40, 1).unwrap();
    }
}

#[test]
fn salvage_reads_around_a_journal_that_cannot_be_opened() {
    // Its frames may be lost; those of the other journals, and all segments, are not.
    let original = &*ORIGINAL;
    let (mut refused, mut silent) = (Vec::new(), Vec::new());
    for file in original.files("/journal/") {
        for spoil in ["a bit of its file header", "a bit of its head", "cut in its head", "missing"]
        {
            let disk = original.copy();
            match spoil {
                "a bit of its file header" => disk.corrupt(&file, 13, 1).unwrap(),
                "a bit of its head" => disk.corrupt(&file, 80, 1).unwrap(),
                "cut in its head" => disk.truncate_file(&file, 100).unwrap(),
                _ => disk.remove_file(&file).unwrap(),
            }
            match original.open_read_only(&disk, Recovery::Salvage) {
                Ok(store) => {
                    let _ = original.look(&store, Tail::MayBeTorn);
                    let found = store.verify(Depth::Digests, |_, _| ()).unwrap();
                    let name = file.file_name().unwrap().to_str().unwrap();
                    if !found.damage.iter().any(|e| e.to_string().contains(name)) {
                        silent.push((spoil, found));
                    }
                }
                Err(e) => refused.push((spoil, e.to_string())),
            }
        }
    }
    assert!(silent.is_empty(), "{} not told, such as {:?}", silent.len(), silent[0]);
    assert!(refused.is_empty(), "{} not opened, such as {:?}", refused.len(), refused[0]);
}
