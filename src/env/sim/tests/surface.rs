//! The disk without crashes, the clock, the randomness; and what it all costs.

use std::io::{self, ErrorKind};
use std::time::Instant;

use super::*;
use crate::env::{Locking, Random};

#[test]
fn handles_outlive_the_names_of_their_files() {
    let disk = SimDisk::new();
    let old = durable(&disk, "/a", b"old");
    let new = durable(&disk, "/b", b"new");
    disk.rename(path("/b"), path("/a")).unwrap();
    disk.remove(path("/a")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    let mut buf = [0; 8];
    for (file, bytes) in [(&old, b"old"), (&new, b"new")] {
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(&buf[..3], bytes);
    }
    old.write_at(b"!", 3).unwrap();
    assert!(disk.paths().is_empty());
}

#[test]
fn a_lock_excludes_until_it_is_dropped_and_its_note_stays() {
    let disk = SimDisk::new();
    let held = disk.lock(path("/lock"), "pid 1").unwrap();
    let Locking::Refused(note) = disk.clone().lock(path("/lock"), "pid 2").unwrap() else {
        panic!("refused")
    };
    assert_eq!(note, "pid 1");
    let image = disk.kill_image();
    assert!(matches!(image.lock(path("/lock"), "pid 3").unwrap(), Locking::Held(_)));
    drop(held);
    assert!(matches!(disk.lock(path("/lock"), "4").unwrap(), Locking::Held(_)));
    assert_eq!(disk.file_bytes("/lock").unwrap().trim_ascii(), b"4");
}

#[test]
fn paths_and_modes_answer_as_a_real_disk_does() {
    let disk = SimDisk::new();
    let kind = |result: io::Result<Arc<dyn File>>| result.err().map(|e| e.kind());
    assert_eq!(kind(disk.open(path("/d/a"), Mode::Create)), Some(ErrorKind::NotFound));
    disk.create_dir(path("/d")).unwrap();
    disk.create_dir(path("/d")).unwrap();
    let file = disk.open(path("/d/a"), Mode::Create).unwrap();
    assert_eq!(kind(disk.open(path("/d/a"), Mode::Create)), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(disk.open(path("/d/a/b"), Mode::Read)), Some(ErrorKind::NotADirectory));
    assert_eq!(kind(disk.open(path("/d"), Mode::Write)), Some(ErrorKind::IsADirectory));
    assert_eq!(kind(disk.open(path("/d/b"), Mode::Write)), Some(ErrorKind::NotFound));
    file.write_at(b"xyz", 2).unwrap();
    let read = disk.open(path("d/./a"), Mode::Read).unwrap();
    assert_eq!(read.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let mut buf = [9; 4];
    assert_eq!((read.read_at(&mut buf, 1).unwrap(), &buf), (4, b"\0xyz"));
    assert_eq!((read.read_at(&mut buf, 4).unwrap(), read.read_at(&mut buf, 5).unwrap()), (1, 0));
    assert_eq!(read.read_at(&mut buf, u64::MAX).unwrap(), 0);
    assert_eq!(file.write_at(b"x", u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    file.write_at(b"far", 1 << 40).unwrap();
    assert_eq!(disk.list(path("/d")).unwrap()[0].bytes, (1 << 40) + 3);
    assert!(disk.list(path("/")).unwrap().is_empty(), "directories are not listed");
    assert_eq!(disk.open(path("/d/a"), Mode::Replace).unwrap().len().unwrap(), 0);
    assert!(disk.exists(path("/")).unwrap() && !disk.exists(path("/e/f")).unwrap());
}

#[test]
fn a_test_can_read_and_spoil_files() {
    let disk = SimDisk::new();
    disk.write_file("/d/e/a", b"abc").unwrap();
    disk.corrupt("/d/e/a", 1, 0x03).unwrap();
    assert_eq!(disk.corrupt("/d/e/a", 3, 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(disk.file_bytes("/d/e/a").unwrap(), b"aac");
    disk.truncate_file("/d/e/a", 1).unwrap();
    disk.write_file("/b", b"b").unwrap();
    assert_eq!(disk.paths(), [path("/b"), path("/d/e/a")]);
    let image = disk.crash_image(Survival::Nothing);
    assert_eq!(image.file_bytes("/d/e/a").unwrap(), b"a");
    disk.remove_file("/b").unwrap();
    assert_eq!(disk.crash_image(Survival::Nothing).paths(), [path("/d/e/a")]);
    assert_eq!(disk.operations(), 0);
}

#[test]
fn contents_agree_with_a_plain_vector() {
    let mut random = random::SplitMix::new(3);
    let disk = SimDisk::new();
    let file = disk.open(path("/a"), Mode::Create).unwrap();
    let mut plain: Vec<u8> = Vec::new();
    for step in 0..3000 {
        let at = random.below(600_000) as usize;
        match random.below(8) {
            0 => {
                plain.resize(at, 0);
                file.set_len(at as u64).unwrap();
            }
            1 => file.sync().unwrap(),
            n => {
                // Zeros too: they take another way.
                let value = if n < 4 { 0 } else { step as u8 };
                let bytes = vec![value; 1 + random.below(20_000) as usize];
                plain.resize(plain.len().max(at + bytes.len()), 0);
                plain[at..at + bytes.len()].copy_from_slice(&bytes);
                file.write_at(&bytes, at as u64).unwrap();
            }
        }
        if step % 50 == 0 {
            assert!(disk.file_bytes("/a").unwrap() == plain, "step {step}");
            let image = disk.crash_image(Survival::Everything);
            assert!(image.file_bytes("/a").unwrap() == plain, "image at step {step}");
            assert!(disk.used_bytes() <= plain.len().next_multiple_of(4096) as u64);
        }
    }
}

#[test]
fn clock_and_randomness_do_as_they_are_told() {
    let (env, disk, clock) = super::env(1);
    env.disk.create_dir(path("/d")).unwrap();
    assert!(disk.exists(path("/d")).unwrap());
    assert_eq!(env.clock.now_ms(), START_MS);
    clock.advance_ms(5);
    assert_eq!((env.clock.now_ms(), env.clock.monotonic_ns()), (START_MS + 5, 5_000_000));
    clock.set_ms(7);
    assert_eq!((env.clock.now_ms(), env.clock.monotonic_ns()), (7, 5_000_000));
    let bytes = |seed| {
        let mut buf = [0; 21];
        SimRandom::new(seed).fill(&mut buf).unwrap();
        buf
    };
    assert!(bytes(1) == bytes(1) && bytes(1) != bytes(2));
    let mut buf = [0; 21];
    env.random.fill(&mut buf).unwrap();
    assert_eq!(buf, bytes(1));
}

/// Four journals of 32 MiB zeros with 2 MiB of data in each.
fn journals() -> (SimDisk, Vec<Arc<dyn File>>) {
    let disk = SimDisk::new();
    let zeros = vec![0; 32 << 20];
    let data = vec![7; 2 << 20];
    let files = ["/0", "/1", "/2", "/3"].map(|name| {
        let file = durable(&disk, name, &zeros);
        file.write_at(&data, 0).unwrap();
        file
    });
    (disk, files.into())
}

#[test]
fn filling_with_zeros_is_cheap() {
    let zeros = vec![0; 32 << 20];
    let disk = SimDisk::new();
    let file = disk.open(path("/a"), Mode::Create).unwrap();
    let start = Instant::now();
    file.write_at(&zeros, 0).unwrap();
    println!("32 MiB of zeros: {:?}", start.elapsed());
    let pending = disk.0.state.lock().files.values().map(|inode| inode.pending()).next();
    assert_eq!(pending, Some((0, 1)), "a length is pending, and nothing else");
    assert_eq!(disk.used_bytes(), 32 << 20);
}

#[test]
fn images_are_cheap() {
    let per_second = |what: &str, disk: &SimDisk| {
        let start = Instant::now();
        for seed in 0..2000 {
            drop(disk.crash_image(Survival::Random(seed)));
        }
        let rate = 2000.0 / start.elapsed().as_secs_f64();
        println!("images per second, {what}: {rate:.0}");
        rate
    };
    let (disk, files) = journals();
    per_second("8 MiB pending", &disk);
    files.iter().for_each(|file| file.sync().unwrap());
    per_second("nothing pending", &disk);
    for (file, kib) in files.iter().zip([16, 32, 64, 128]) {
        file.write_at(&vec![1; kib << 10], (2 << 20) + 100).unwrap();
    }
    let rate = per_second("240 KiB pending", &disk);
    assert!(rate > 500.0, "the goal is 5,000 on a machine with nothing else to do");
}
