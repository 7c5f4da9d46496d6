//! Many threads append at once: they share syncs, and nothing is lost or doubled, also while journals are archived and
//! readers, in this process and in others, list and replay.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use common::meddled::Meddled;
use common::sim::World;
use common::{Folder, NOON, chunk, env_at, replayed, session, session_id, site_id};
use reelvault::env::{Counted, Env, Random};
use reelvault::{Depth, Durability, Order, Query, Site, Store};

const SITES: [&str; 3] = ["shop.example", "dash.example", "help.example"];

fn sites(store: &Store) -> Vec<Site> {
    SITES.iter().map(|s| store.site(&site_id(s)).unwrap()).collect()
}

fn create(folder: &Folder, env: Env) -> Store {
    let store = Store::create(folder.options_in(env)).unwrap();
    store.add_sites(SITES.map(|s| (site_id(s), 30))).unwrap();
    store
}

/// The name, start and size of what a thread appends.
fn of_thread(thread: u64, seq: u64) -> (String, reelvault::Chunk<'static>) {
    let name = format!("s-{thread}");
    let bytes = 200 + (thread * 131 + seq * 977) as usize % 6_000;
    let chunk = chunk(&name, seq, NOON + thread * 10_000 + seq * 100, bytes);
    (name, chunk)
}

/// The whole of a store's chunks, looked at by every way there is.
fn check(store: &Store, threads: u64, chunks: u64) {
    let sites = sites(store);
    for (at, site) in sites.iter().enumerate() {
        let mine: Vec<u64> = (0..threads).filter(|t| (*t % 3) as usize == at).collect();
        let page = site.sessions(&Query::new().order(Order::OldestFirst).limit(1000)).unwrap();
        assert!(page.damage.is_empty());
        assert_eq!(page.sessions.len(), mine.len());
        for (info, thread) in page.sessions.iter().zip(mine) {
            assert_eq!(info.id.as_str(), format!("s-{thread}"));
            assert_eq!((u64::from(info.chunks), info.gaps.len()), (chunks, 0));
            let sent: Vec<u8> =
                (0..chunks).flat_map(|seq| of_thread(thread, seq).1.events.into_owned()).collect();
            assert_eq!(info.raw_bytes, sent.len() as u64);
            assert!(replayed(site, info.id.as_str()) == sent, "s-{thread}");
        }
    }
    assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
}

#[test]
fn sixty_four_threads_on_a_real_disk() {
    const THREADS: u64 = 64;
    const CHUNKS: u64 = 25;
    let folder = Folder::new();
    let real = env_at(NOON);
    let disk = Arc::new(Counted::new(Arc::clone(&real.disk)));
    let store = create(&folder, Env { disk: disk.clone(), ..real });
    let before = disk.counts();
    let barrier = std::sync::Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, barrier) = (store.clone(), &barrier);
            scope.spawn(move || {
                let site = &sites(&store)[(thread % 3) as usize];
                barrier.wait();
                for seq in 0..CHUNKS {
                    let (name, chunk) = of_thread(thread, seq);
                    let appended = site.append(&session(&name), &chunk).unwrap();
                    assert!(!appended.duplicate && appended.position.is_some());
                }
            });
        }
    });
    let done = disk.counts() - before;
    let acknowledged = THREADS * CHUNKS;
    let per_chunk = done.syncs as f64 / acknowledged as f64;
    println!(
        "{acknowledged} chunks, {} syncs: {per_chunk:.3} a chunk; {} writes",
        done.syncs, done.writes
    );
    assert!(per_chunk <= 0.5, "{per_chunk}");
    let stats = store.stats().unwrap();
    assert_eq!((stats.appended, stats.duplicates), (acknowledged, 0));
    assert!(stats.groups <= done.syncs);
    check(&store, THREADS, CHUNKS);
    store.archive().unwrap();
    check(&store, THREADS, CHUNKS);
    drop(store);
    let store = Store::open(folder.options()).unwrap();
    check(&store, THREADS, CHUNKS);
}

#[test]
fn everyone_sends_the_same_chunks_and_each_is_there_once() {
    (0..10).for_each(|_| everyone());
}

fn everyone() {
    const THREADS: u64 = 16;
    const CHUNKS: u64 = 30;
    let folder = Folder::new();
    let store = create(&folder, env_at(NOON));
    let fresh = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let archiver = store.clone();
        let (stop, fresh) = (&stop, &fresh);
        let archiving = scope.spawn(move || {
            while !stop.load(SeqCst) {
                archiver.archive().unwrap();
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let store = store.clone();
                scope.spawn(move || {
                    let site = &sites(&store)[0];
                    for n in 0..CHUNKS {
                        // Half of them go backwards.
                        let seq = if thread.is_multiple_of(2) { n } else { CHUNKS - 1 - n };
                        let (name, chunk) = of_thread(0, seq);
                        let durability = match (thread + n) % 3 {
                            0 => Durability::Deferred,
                            _ => Durability::Synced,
                        };
                        let appended =
                            site.append_with(&session(&name), &chunk, durability).unwrap();
                        fresh.fetch_add(u64::from(!appended.duplicate), Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|w| w.join()).collect();
        stop.store(true, SeqCst);
        // Joined by hand: ThreadSanitizer does not see that the scope ends after it.
        archiving.join().unwrap();
        ended.into_iter().for_each(|e| e.unwrap());
    });
    store.sync().unwrap();
    let sent: Vec<u8> =
        (0..CHUNKS).flat_map(|seq| of_thread(0, seq).1.events.into_owned()).collect();
    let site = &sites(&store)[0];
    let sessions = site.sessions(&Query::new()).unwrap().sessions;
    let told: Vec<_> = sessions.iter().map(|s| (u64::from(s.chunks), s.raw_bytes)).collect();
    assert_eq!(
        (fresh.load(Relaxed), &told[..]),
        (CHUNKS, &[(CHUNKS, sent.len() as u64)][..]),
        "each number counts once, in one session, whoever began it; chunks and bytes of the sessions"
    );
    assert!(replayed(site, "s-0") == sent);
    store.archive().unwrap();
    assert!(replayed(site, "s-0") == sent);
    assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
}

/// Randomness that does something else first, once: between finding that a session is not there and beginning it, an
/// append draws a nonce.
struct Interrupted {
    random: Arc<dyn Random>,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Random for Interrupted {
    fn fill(&self, buf: &mut [u8]) -> std::io::Result<()> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.random.fill(buf)
    }
}

/// Appends chunk `first` while another thread appends chunk `second` of the same session and archives it; returns both
/// answers and the sessions that are there then, with their chunks and bytes.
fn interrupted(first: u64, second: u64) -> ([bool; 2], Vec<(u32, u64)>) {
    let folder = Folder::new();
    let real = env_at(NOON);
    let interrupted =
        Arc::new(Interrupted { random: Arc::clone(&real.random), meanwhile: Mutex::new(None) });
    let store = create(&folder, Env { random: interrupted.clone(), ..real });
    let site = sites(&store)[0].clone();
    // A journal is there, so that the nonce of the session is the first thing drawn.
    site.append(&session("other"), &chunk("other", 0, NOON, 100)).unwrap();
    let answer = Arc::new(AtomicBool::new(false));
    let (other, answered) = (site.clone(), Arc::clone(&answer));
    *interrupted.meanwhile.lock().unwrap() = Some(Box::new(move || {
        let (name, chunk) = of_thread(0, second);
        let appended = other.append(&session(&name), &chunk).unwrap();
        answered.store(appended.duplicate, SeqCst);
        store.archive().unwrap();
    }));
    let (name, chunk) = of_thread(0, first);
    let duplicate = site.append(&session(&name), &chunk).unwrap().duplicate;
    let mut sessions = site.sessions(&Query::new()).unwrap().sessions;
    sessions.retain(|s| s.id.as_str() == name);
    let sessions = sessions.iter().map(|s| (s.chunks, s.raw_bytes)).collect();
    ([answer.load(SeqCst), duplicate], sessions)
}

#[test]
fn a_chunk_that_is_sent_and_archived_while_it_is_sent_again_counts_once() {
    let bytes = of_thread(0, 0).1.events.len() as u64;
    assert_eq!(interrupted(0, 0), ([false, true], vec![(1, bytes)]));
}

#[test]
fn a_session_that_is_begun_and_archived_while_it_begins_is_one() {
    let bytes = (0..2).map(|seq| of_thread(0, seq).1.events.len() as u64).sum();
    assert_eq!(interrupted(0, 1), ([false, false], vec![(2, bytes)]));
}

#[test]
fn a_reader_that_opens_between_two_journals_sees_a_beginning() {
    // The writer has made its next journal ahead. Between the reader's looks at the two it appends to the first,
    // and then, that one being full, to the second.
    for nth in 1..4 {
        let world = World::new(31);
        world.clock.set_ms(NOON);
        let store = world.open(&world.disk, 1).unwrap();
        let site = store.site(&site_id(common::sim::SITES[0])).unwrap();
        let send = |site: &Site, seq: u64, bytes| {
            let chunk = chunk("s-1", seq, NOON + seq * 1000, bytes);
            site.append(&session("s-1"), &chunk).unwrap().position.unwrap().journal
        };
        let first = send(&site, 0, 620_000);
        store.maintain().unwrap();
        let writer = site.clone();
        let meanwhile = move || {
            assert_eq!(send(&writer, 1, 500), first);
            assert!(send(&writer, 2, 620_000) > first, "in the next journal");
        };
        let env = world.disk.env(&world.clock, 2);
        let left = AtomicU64::new(nth);
        let disk = Meddled::new(&env.disk, move |path| {
            if path.extension().is_some_and(|e| e == "rvj") && left.fetch_sub(1, SeqCst) == 1 {
                meanwhile();
            }
        });
        let options = common::sim::options(Env { disk, ..env }, &world.provider);
        let reader = Store::open_read_only(options).unwrap();
        let site = reader.site(&site_id(common::sim::SITES[0])).unwrap();
        let info = site.session(&session_id("s-1")).unwrap();
        assert!(info.gaps.is_empty(), "{} chunks without {:?}", info.chunks, info.gaps);
    }
}

#[test]
fn a_journal_made_ahead_too_late_does_not_come_after_a_later_one() {
    // While it is filled, appends fill the current one, and go on in another. Readers take the youngest first: a later chunk in an
    // older journal would be seen without the one before it.
    let world = World::new(31);
    world.clock.set_ms(NOON);
    let env = world.disk.env(&world.clock, 1);
    type Work = Box<dyn FnOnce() + Send>;
    let meanwhile: Arc<Mutex<Option<Work>>> = Arc::default();
    let once = Arc::clone(&meanwhile);
    let disk = Meddled::new(&env.disk, move |path| {
        if path.extension().is_some_and(|e| e == "rvj") {
            let work = once.lock().unwrap().take();
            work.into_iter().for_each(|work| work());
        }
    });
    let provider = common::sim::key_on(&env).unwrap();
    let store = Store::open(common::sim::options(Env { disk, ..env }, &provider)).unwrap();
    let site = store.site(&site_id(common::sim::SITES[0])).unwrap();
    let send = |site: &Site, seq: u64| {
        let chunk = chunk("s-1", seq, NOON + seq * 1000, 620_000);
        site.append(&session("s-1"), &chunk).unwrap().position.unwrap().journal
    };
    let first = send(&site, 0);
    let writer = site.clone();
    *meanwhile.lock().unwrap() = Some(Box::new(move || {
        send(&writer, 1);
    }));
    store.maintain().unwrap();
    assert!(meanwhile.lock().unwrap().is_none(), "a journal was made ahead");
    let numbers: Vec<u64> = (2..6).map(|seq| send(&site, seq)).collect();
    assert!(numbers[0] > first + 1 && numbers.is_sorted(), "{first}, {numbers:?}");
    assert_eq!(site.session(&session_id("s-1")).unwrap().chunks, 6);
}

/// How many chunks of each thread were acknowledged.
type Acknowledged = Vec<AtomicU64>;

/// What a reader sees is a beginning of each session, never shorter than what was acknowledged before it looked.
fn look(store: &Store, acknowledged: &Acknowledged, refreshed: impl Fn()) {
    let before: Vec<u64> = acknowledged.iter().map(|n| n.load(SeqCst)).collect();
    refreshed();
    for (at, site) in sites(store).iter().enumerate() {
        let page = site.sessions(&Query::new().limit(1000)).unwrap();
        assert!(page.damage.is_empty(), "{:?}", page.damage);
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        for info in &page.sessions {
            let twice = listed.insert(info.id.to_string(), info.chunks.into());
            assert_eq!(twice, None, "a session is listed twice");
            assert!(info.gaps.is_empty(), "{} of {}: {:?}", info.chunks, info.id, info.gaps);
        }
        for (thread, before) in before.iter().enumerate().filter(|(t, _)| t % 3 == at) {
            let name = format!("s-{thread}");
            let chunks = listed.get(&name).copied().unwrap_or(0);
            assert!(chunks >= *before, "{name}: {chunks} chunks listed, {before} acknowledged");
            if *before == 0 {
                continue;
            }
            let mut replay = site.replay(&session_id(&name)).unwrap();
            let mut next = 0;
            while let Some(chunk) = replay.next_chunk().unwrap() {
                assert_eq!(chunk.seq, next, "{name}: missing or double");
                if next.is_multiple_of(7) {
                    assert!(chunk.events == &*of_thread(thread as u64, next).1.events);
                }
                next += 1;
            }
            assert!(next >= *before, "{name}: {next} chunks replayed, {before} acknowledged");
        }
    }
}

/// Writers of three sites, an archiver, and readers of this process and of another that opened it read-only.
fn crowd(writers: u64, chunks: u64, readers: u64) {
    let folder = Folder::new();
    let store = create(&folder, env_at(NOON));
    let acknowledged: Acknowledged = (0..writers).map(|_| AtomicU64::new(0)).collect();
    let other = Store::open_read_only(folder.options()).unwrap();
    let stop = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (stop, acknowledged, looks) = (&stop, &acknowledged, &looks);
        let until_stopped = |work: Box<dyn Fn() + Send>| {
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    work();
                }
                work();
            })
        };
        let mut others = Vec::new();
        let archiver = store.clone();
        others.push(until_stopped(Box::new(move || archiver.archive().unwrap())));
        let keeper = store.clone();
        others.push(until_stopped(Box::new(move || keeper.maintain().unwrap())));
        for reader in 0..readers {
            let (own, other) = (store.clone(), other.clone());
            others.push(until_stopped(Box::new(move || {
                match reader % 2 {
                    0 => look(&own, acknowledged, || ()),
                    // Several threads share one read-only store, and refresh it at any time.
                    _ => look(&other, acknowledged, || other.refresh().unwrap()),
                }
                looks.fetch_add(1, Relaxed);
            })));
        }
        let writing: Vec<_> = (0..writers)
            .map(|thread| {
                let store = store.clone();
                scope.spawn(move || {
                    let site = &sites(&store)[(thread % 3) as usize];
                    for seq in 0..chunks {
                        let (name, chunk) = of_thread(thread, seq);
                        assert!(!site.append(&session(&name), &chunk).unwrap().duplicate);
                        acknowledged[thread as usize].store(seq + 1, SeqCst);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writing.into_iter().map(|w| w.join()).collect();
        stop.store(true, SeqCst);
        let others: Vec<_> = others.into_iter().map(|o| o.join()).collect();
        ended.into_iter().chain(others).for_each(|e| e.unwrap());
    });
    println!("{} looks while {writers} wrote {chunks} chunks each", looks.load(Relaxed));
    check(&store, writers, chunks);
    other.refresh().unwrap();
    check(&other, writers, chunks);
}

#[test]
fn readers_of_the_same_process_miss_nothing_while_journals_are_archived() {
    // One reader alone, of this process.
    crowd(12, 60, 1);
}

#[test]
fn readers_of_another_process_miss_nothing_while_journals_are_archived() {
    crowd(12, 60, 2);
}

#[test]
fn many_threads_of_a_reading_process_miss_nothing_while_one_of_them_refreshes() {
    crowd(6, 60, 8);
}

#[test]
fn closing_while_others_append_loses_nothing_that_was_acknowledged() {
    for round in 0..10 {
        let folder = Folder::new();
        let store = create(&folder, env_at(NOON));
        let acknowledged: Acknowledged = (0..8).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (site, acknowledged) =
                    (sites(&store)[(thread % 3) as usize].clone(), &acknowledged);
                scope.spawn(move || {
                    for seq in 0.. {
                        let (name, chunk) = of_thread(thread, seq);
                        match site.append(&session(&name), &chunk) {
                            Ok(_) => acknowledged[thread as usize].store(seq + 1, SeqCst),
                            Err(reelvault::Error::Closed) => return,
                            Err(e) => panic!("{e}"),
                        }
                    }
                });
            }
            while acknowledged[round % 8].load(SeqCst) < 5 {
                std::thread::yield_now();
            }
            store.close().unwrap();
        });
        let store = Store::open(folder.options()).unwrap();
        look(&store, &acknowledged, || ());
    }
}
