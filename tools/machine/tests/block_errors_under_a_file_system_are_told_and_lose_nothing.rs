//! A device that fails under a real file system: blocks that cannot be written, blocks that cannot be read, and blocks that read as zeros.
//!
//! The device is a file under a loop device. It has holes and lies on a file system of the memory that is full: a block that was never
//! written before finds no room, which the device answers with an error. And it is cut short under the device, or gets new holes, to be read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "the image is a file of the test's own")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use common::mount::{Kind, Machine, Mount};
use common::writer::{How, PATIENCE, Writer};
use common::{Campaign, Folder, rounds};
use reelvault::{Error, SessionId, SiteId, Store};
use reelvault_machine::home::Home;
use reelvault_machine::ledger::{Ledger, State};
use reelvault_machine::report::kind;

const MEMORY_BYTES: u64 = 600 << 20;
/// What a file system, a key, or a store answers that stands on such a device.
const TOLD: &[&str] = &["io", "full", "poisoned", "unsure", "closed", "expired"];

/// Days that are passed by hand are none of the clock, so none pass here; a store that only grows is given up for a new one.
const ROUNDS_OF_A_DEVICE: u64 = 12;

fn blocks_cannot_be_written(kind: Kind) {
    let mut left = rounds(8);
    while left > 0 {
        let rounds = left.min(ROUNDS_OF_A_DEVICE);
        a_device_without_room(kind, rounds);
        left -= rounds;
    }
}

fn a_device_without_room(kind: Kind, rounds: u64) {
    let folder = Folder::new();
    let memory = Mount::tmpfs(folder.dir("memory"), MEMORY_BYTES);
    let mut machine = Machine::new(kind, "", memory.at(), folder.dir("mounted"));
    let mut campaign = Campaign::new(machine.at.join("home"), folder.dir("beside"));
    campaign.make();
    let (last, mut failed, mut reopened) = (campaign.round + rounds, 0, 0);
    while campaign.round < last {
        let before = campaign.ledger.lock().unwrap().failures.values().map(|f| f.0).sum::<u64>();
        // From here on a few new blocks can be written.
        let used = rustix::fs::statvfs(memory.at()).unwrap();
        let used = (used.f_blocks - used.f_bfree) * used.f_frsize;
        memory.resize(used + (campaign.random.below(3 << 20) & !0xfff));
        let how = How::with(&["defers=0", "days=0"]);
        let mut writer = Writer::start(&mut campaign, &how);
        writer.wait_until(Duration::from_secs(3), |l| {
            l.failures.values().map(|f| f.0).sum::<u64>() > before + 5
        });
        std::thread::sleep(campaign.a_while(0, 100));
        let room_again = campaign.random.one_in(2);
        if room_again {
            // The device works again; whether the file system does is another matter.
            memory.resize(MEMORY_BYTES);
            std::thread::sleep(campaign.a_while(50, 300));
        }
        writer.kill();
        memory.resize(MEMORY_BYTES);
        if campaign.random.one_in(2) && takes_files(&machine.at) {
            // Opened while the cache still shows what the device never got: what is seen now is owed.
            campaign.check();
            reopened += 1;
        }
        // What the system's cache shows and the device never got is gone.
        campaign.cut(&machine, false);
        machine.restart();
        campaign.check();
        campaign.restarted();
        let after = campaign.ledger.lock().unwrap().failures.values().map(|f| f.0).sum::<u64>();
        failed += u64::from(after > before);
        campaign.next();
    }
    campaign.summary(&format!("blocks that cannot be written under {kind:?}"));
    println!("{failed} rounds with errors, opened before the cut in {reopened}");
    let ledger = campaign.ledger.lock().unwrap();
    assert!(failed > 0, "no block failed");
    assert!(ledger.unexpected(TOLD).is_empty(), "{:?}", ledger.unexpected(TOLD));
}

/// Whether a file system can still be written: some give up at the first error.
fn takes_files(at: &Path) -> bool {
    let probe = at.join("probe");
    let written = File::create(&probe).and_then(|file| {
        file.set_len(1)?;
        file.sync_all()
    });
    written.is_ok() && fs::remove_file(probe).is_ok()
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_cannot_be_written_under_ext4() {
    blocks_cannot_be_written(Kind::Ext4);
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_cannot_be_written_under_xfs() {
    blocks_cannot_be_written(Kind::Xfs);
}

/// What reading everything came to.
#[derive(Debug, Default)]
struct Survey {
    /// The store did not open, and said why.
    unopened: u64,
    /// Sessions that were right to the last byte.
    right: u64,
    /// Sessions of which an error was told.
    told: u64,
}

/// Reads everything that is owed: each session is right, or an error is told of it.
fn survey(home: &Home, ledger: &Ledger, survey: &mut Survey) {
    let opened = home.options().and_then(Store::open_read_only);
    let store = match opened {
        Ok(store) => store,
        Err(e) => {
            assert!(matches!(kind(&e), "io" | "corrupt" | "no-store"), "opening it: {e:?}");
            survey.unopened += 1;
            return;
        }
    };
    for (name, known) in &ledger.sessions {
        let gone = known.state == State::Gone || ledger.has_expired(name);
        let site = store.site(&SiteId::new(&name.site).unwrap()).unwrap();
        let read = || -> reelvault::Result<u64> {
            let mut replay = site.replay(&SessionId::new(&name.id).unwrap())?;
            let mut chunks = 0;
            while let Some(chunk) = replay.next_chunk()? {
                assert!(!gone, "{name} is gone and is read");
                let right = name.chunk(chunks, ledger.base_ms);
                assert_eq!((chunk.seq, chunk.events), (chunks, &*right.events), "{name}");
                chunks += 1;
            }
            Ok(chunks)
        };
        match read() {
            Ok(chunks) => {
                assert_eq!(chunks, known.owed, "{name} is shorter than it was");
                survey.right += 1;
            }
            Err(Error::Erased | Error::Expired { .. } | Error::UnknownSession)
                if gone || known.owed == 0 => {}
            Err(e) => {
                assert!(matches!(kind(&e), "io" | "corrupt"), "{name}: {e:?}");
                survey.told += 1;
            }
        }
    }
}

/// Spoils the image under a mounted file system; what was done, in words.
fn spoil(image: &File, campaign: &mut Campaign) -> String {
    use rustix::fs::{FallocateFlags, fallocate};
    let bytes = image.metadata().unwrap().len();
    if campaign.random.one_in(2) {
        let to = campaign.random.below(bytes) & !0xfff;
        image.set_len(to).unwrap();
        return format!("cut at {to}");
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let (step, hole) = (1 << (17 + campaign.random.below(5)), 4096 << campaign.random.below(4));
    let mut at = campaign.random.below(step) & !0xfff;
    while at < bytes {
        fallocate(image, flags, at, hole).unwrap();
        at += step;
    }
    format!("holes of {hole} every {step}")
}

fn blocks_cannot_be_read(kind: Kind) {
    let folder = Folder::new();
    let memory = Mount::tmpfs(folder.dir("memory"), 2 * MEMORY_BYTES);
    let mut machine = Machine::new(kind, "", memory.at(), folder.dir("mounted"));
    let mut campaign = Campaign::new(machine.at.join("home"), folder.dir("beside"));
    campaign.make();
    let writer = Writer::start(&mut campaign, &How::with(&["chunks=6000", "days=0"]));
    assert!(writer.wait(PATIENCE).in_order());
    // Of a journal, zeros are no damage but where a crash ended it; so all goes into segments.
    let store = Store::open(campaign.home().options().unwrap()).unwrap();
    store.archive().unwrap();
    store.close().unwrap();
    campaign.check();
    machine.mount.take().unwrap().unmount();
    let sound = memory.at().join("sound");
    let copy = |from, to| drop(common::mount::run(&["cp", "--sparse=always", from, to]));
    let (image, kept) = (machine.image.to_str().unwrap(), sound.to_str().unwrap());
    copy(image, kept);
    let mut all = Survey::default();
    for _ in 0..rounds(12) {
        copy(kept, image);
        // Nothing is written, so that nothing hides what cannot be read.
        let options = if kind == Kind::Ext4 { "ro,noload" } else { "ro,norecovery" };
        let mounted = Mount::image(&machine.image, machine.at.clone(), options);
        let file = OpenOptions::new().write(true).open(&machine.image).unwrap();
        let how = spoil(&file, &mut campaign);
        let before = (all.unopened, all.told);
        survey(&campaign.home(), &campaign.ledger.lock().unwrap(), &mut all);
        println!("{how}: unopened {}, told {}", all.unopened - before.0, all.told - before.1);
        mounted.unmount();
    }
    copy(kept, image);
    machine.mount = Some(Mount::image(&machine.image, machine.at.clone(), ""));
    campaign.check();
    println!("blocks that cannot be read under {kind:?}: {all:?}");
    assert!(all.told + all.unopened > 0 && all.right > 0, "{all:?}");
    let _ = fs::remove_file(sound);
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_cannot_be_read_under_ext4() {
    blocks_cannot_be_read(Kind::Ext4);
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_cannot_be_read_under_xfs() {
    blocks_cannot_be_read(Kind::Xfs);
}

/// So many files, each synced, have taken the journal of the file system around: its blocks are all there.
const FILES_AROUND_THE_JOURNAL: u32 = 1_500;

/// A sync fails for want of blocks, and the process dies of it. When there is room, the store is opened again: the cache shows chunks that were
/// refused, and whoever sends them again is told that they are there. The power cut that follows must not take them.
fn opened_after_a_failed_sync(kind: Kind) {
    let folder = Folder::new();
    let memory = Mount::tmpfs(folder.dir("memory"), MEMORY_BYTES);
    let mut machine = Machine::new(kind, "", memory.at(), folder.dir("mounted"));
    for _ in 0..FILES_AROUND_THE_JOURNAL {
        assert!(takes_files(&machine.at));
    }
    let mut campaign = Campaign::new(machine.at.join("home"), folder.dir("beside"));
    campaign.make();
    let (last, mut shown) = (campaign.round + rounds(6), 0);
    while campaign.round < last {
        let used = rustix::fs::statvfs(memory.at()).unwrap();
        memory.resize((used.f_blocks - used.f_bfree) * used.f_frsize + (64 << 10));
        let how = How::with(&["days=0", "backups=0", "defers=0", "dies=1"]);
        Writer::start(&mut campaign, &how).wait(Duration::from_secs(5));
        memory.resize(MEMORY_BYTES);
        let owed = |campaign: &Campaign| -> u64 {
            campaign.ledger.lock().unwrap().sessions.values().map(|known| known.owed).sum()
        };
        let before = owed(&campaign);
        if takes_files(&machine.at) {
            campaign.check();
            shown += owed(&campaign) - before;
        }
        campaign.cut(&machine, false);
        machine.restart();
        campaign.check();
        campaign.restarted();
        campaign.next();
    }
    campaign.summary(&format!("opened after a failed sync under {kind:?}"));
    println!("{shown} chunks were shown by the cache alone");
    assert!(shown > 0, "no sync failed");
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_failed_a_sync_under_ext4_are_written_again() {
    opened_after_a_failed_sync(Kind::Ext4);
}

#[test]
#[ignore = "needs root, loop devices and xfsprogs"]
fn that_failed_a_sync_under_xfs_are_written_again() {
    opened_after_a_failed_sync(Kind::Xfs);
}
