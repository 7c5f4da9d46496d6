//! Failing operations, full disks and planned crashes.

use std::io::{self, ErrorKind};
use std::sync::Mutex;

use super::*;
use crate::env::Locking;

fn message<T>(result: io::Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn a_failed_sync_loses_what_reads_go_on_to_show() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", &[0; 2 * UNIT]);
    file.write_at(&[1; UNIT], 0).unwrap();
    disk.fail(When::Once(disk.operations()), Fault::Io);
    assert!(file.sync().is_err());
    file.write_at(&[2; UNIT], UNIT as u64).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.file_bytes("/a").unwrap(), [[1; UNIT], [2; UNIT]].concat());
    let lost = some(&[[0; UNIT], [2; UNIT]].concat());
    assert!(outcomes(&disk, "/a").iter().all(|bytes| *bytes == lost));
    assert_eq!(disk.kill_image().file_bytes("/a").unwrap()[0], 1);
    // Written again, the same bytes count.
    file.write_at(&[1; UNIT], 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.crash_image(Survival::Nothing).file_bytes("/a").unwrap()[0], 1);
}

#[test]
fn a_full_disk_fills_up_to_its_last_page_and_says_so() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/zeros", &[0; 8192]);
    disk.set_capacity(Some(4 * 4096));
    let other = disk.open(path("/b"), Mode::Create).unwrap();
    let error = other.write_at(&[1; 3 * 4096], 0).unwrap_err();
    assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::StorageFull, Some(28)));
    assert_eq!((other.len().unwrap(), disk.used_bytes()), (2 * 4096, 4 * 4096));
    file.write_at(&[2; 8192], 0).unwrap();
    file.sync().unwrap();
    disk.remove(path("/b")).unwrap();
    assert_eq!(disk.used_bytes(), 4 * 4096, "open files take up room");
    drop(other);
    assert_eq!(disk.used_bytes(), 2 * 4096);
    file.write_at(&[3; 8192], 8192).unwrap();
}

#[test]
fn faults_strike_by_number_once_or_for_ever() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", &[0; 100]);
    disk.fail(When::Once(disk.operations()), Fault::Io);
    assert_eq!(file.write_at(&[1; 100], 0).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(disk.file_bytes("/a").unwrap(), [[1; 50], [0; 50]].concat());
    file.write_at(&[1; 100], 0).unwrap();
    disk.fail(When::From(disk.operations()), Fault::Full);
    file.write_at(&[2; 100], 0).unwrap();
    for _ in 0..2 {
        assert_eq!(file.write_at(&[3; 10], 4096).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(disk.open(path("/new"), Mode::Create).is_err());
    }
    disk.rename(path("/a"), path("/b")).unwrap();
    disk.heal();
    disk.open(path("/new"), Mode::Create).unwrap();
}

#[test]
fn after_the_crash_everything_answers_an_error() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", b"a");
    disk.crash_at(disk.operations() + 1);
    let Locking::Held(lock) = disk.lock(path("/lock"), "pid 1").unwrap() else { panic!("held") };
    let before = disk.operations();
    let down = |text: String| assert_eq!(text, "simulated crash");
    down(message(file.write_at(b"b", 0)));
    down(message(file.read_at(&mut [0], 0)));
    down(message(file.sync()));
    down(message(file.set_len(0)));
    down(message(file.len()));
    down(message(disk.open(path("/a"), Mode::Read)));
    down(message(disk.open(path("/a"), Mode::Replace)));
    down(message(disk.rename(path("/a"), path("/b"))));
    down(message(disk.remove(path("/a"))));
    down(message(disk.list(path("/"))));
    down(message(disk.create_dir(path("/d"))));
    down(message(disk.sync_dir(path("/"))));
    down(message(disk.exists(path("/a"))));
    down(message(disk.lock(path("/lock"), "")));
    drop(lock);
    assert!(disk.crashed() && disk.operations() == before);
    let last = disk.last_operation().unwrap();
    assert_eq!((last.number, last.kind, &*last.path), (before, Kind::Write, path("/a")));
    let image = disk.crash_image(Survival::Everything);
    assert_eq!(image.file_bytes("/a").unwrap(), b"a");
    assert!(matches!(image.lock(path("/lock"), "pid 2").unwrap(), Locking::Held(_)));
}

#[test]
fn a_crash_within_a_write_leaves_its_first_bytes_pending() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", b"....");
    disk.crash_within(disk.operations(), 3);
    assert!(file.write_at(b"1234", 0).is_err());
    let killed = disk.kill_image();
    assert_eq!(killed.file_bytes("/a").unwrap(), b"123.");
    assert_eq!(killed.crash_image(Survival::Nothing).file_bytes("/a").unwrap(), b"....");
    killed.open(path("/a"), Mode::Write).unwrap().sync().unwrap();
    assert_eq!(killed.crash_image(Survival::Nothing).file_bytes("/a").unwrap(), b"123.");
}

#[test]
fn a_hook_can_image_every_operation_of_one_run() {
    let disk = SimDisk::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    disk.on_operation(move |disk, operation| {
        let image = disk.crash_image(Survival::Everything);
        log.lock().unwrap().push((operation.number, operation.kind, image.paths().len()));
    });
    let file = durable(&disk, "/a", b"x");
    file.set_len(0).unwrap();
    disk.remove(path("/a")).unwrap();
    let kinds = [Kind::Create, Kind::Write, Kind::Sync, Kind::SyncDir, Kind::SetLen, Kind::Remove];
    let expected: Vec<_> =
        kinds.iter().enumerate().map(|(i, kind)| (i as u64, *kind, usize::from(i > 0))).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!((disk.operations(), disk.count(Kind::Sync)), (6, 1));
}
