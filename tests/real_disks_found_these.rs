//! Bugs that real disks, real file systems and a killed process found (`tools/machine`), each with its story.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use std::sync::{Arc, Mutex};

use common::meddled::Meddled;
use common::sim::{SITES, World};
use common::{NOON, chunk, session, session_id, site_id};
use reelvault::env::sim::{Fault, When};
use reelvault::env::{Env, Mode};
use reelvault::{Depth, Error, Held, KeyFile, Store};

/// On a full disk, a segment of which nothing was left was unlinked before the manifest could be written without it. Whoever looked
/// for another session of its day met a file that was missing, `verify` called it damage, and neither ever ended: what cannot be read is
/// not reclaimed.
#[test]
fn a_full_disk_does_not_part_a_segment_from_its_manifest() {
    let world = World::new(41);
    world.clock.set_ms(NOON);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    for name in ["goes", "stays"] {
        site.append(&session(name), &chunk(name, 0, NOON, 3_000)).unwrap();
        store.archive().unwrap();
    }
    site.erase_sessions([session_id("goes")], Held::Refuse).unwrap();
    world.disk.fail(When::From(world.disk.operations()), Fault::Full);
    for _ in 0..3 {
        assert!(matches!(store.maintain(), Err(Error::DiskFull { .. })));
        assert_eq!(site.session(&session_id("stays")).unwrap().chunks, 1);
        assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
    }
    let image = world.disk.kill_image();
    image.heal();
    let after = world.open(&image, 2).unwrap();
    assert!(after.verify(Depth::Content, |_, _| ()).unwrap().is_sound(), "after a kill");
    world.disk.heal();
    store.maintain().unwrap();
    assert_eq!(store.stats().unwrap().segments, 1, "what was erased is given back at last");
    assert_eq!(site.session(&session_id("stays")).unwrap().chunks, 1);
}

/// What happens while a segment is being opened.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// A look-up began anew four times when a segment was written once more under it, and then told that it is missing. On a full tmpfs, where syncs cost
/// nothing, so many were written once more in a row.
#[test]
fn a_session_is_found_however_often_its_segment_is_written_again() {
    let world = World::new(43);
    world.clock.set_ms(NOON);
    let env = world.disk.env(&world.clock, 1);
    let meanwhile: Arc<Mutex<Vec<Meanwhile>>> = Arc::default();
    let next = Arc::clone(&meanwhile);
    let disk = Meddled::new(&env.disk, move |path| {
        if path.extension().is_some_and(|e| e == "rvs") {
            let happens = next.lock().unwrap().pop();
            // What it opens itself is not meddled with.
            let others = std::mem::take(&mut *next.lock().unwrap());
            happens.into_iter().for_each(|happens| happens());
            *next.lock().unwrap() = others;
        }
    });
    let options = common::sim::options(Env { disk, ..env }, &world.provider);
    let store = Arc::new(Store::open(options).unwrap());
    let site = store.site(&site_id(SITES[0])).unwrap();
    for n in 0..20 {
        let name = format!("s-{n}");
        site.append(&session(&name), &chunk(&name, 0, NOON, 300)).unwrap();
    }
    store.archive().unwrap();
    for n in 0..12 {
        let (store, site) = (Arc::clone(&store), site.clone());
        meanwhile.lock().unwrap().push(Box::new(move || {
            site.erase_sessions([session_id(&format!("s-{n}"))], Held::Refuse).unwrap();
            assert_eq!(store.reclaim(0.0).unwrap().segments, 1);
        }));
    }
    assert_eq!(site.session(&session_id("s-19")).unwrap().chunks, 1);
    assert!(meanwhile.lock().unwrap().is_empty());
}

/// A process that was killed between making a key file and writing its first line left a file that was neither: it was refused as
/// damaged when it was opened, and as there already when it was to be made.
#[test]
fn a_key_file_that_was_only_begun_is_made_once_more() {
    let (env, disk, _) = reelvault::env::sim::env(42);
    let first_line = {
        drop(KeyFile::create(&env, "/whole").unwrap());
        disk.file_bytes("/whole").unwrap()
    };
    for torn in [&b""[..], &first_line[..7], &vec![0; first_line.len()]] {
        let file = env.disk.open("/key".as_ref(), Mode::Replace).unwrap();
        file.write_at(torn, 0).unwrap();
        assert!(KeyFile::open(&env, "/key").is_err());
        drop(KeyFile::create(&env, "/key").unwrap());
        KeyFile::open(&env, "/key").unwrap();
        assert_eq!(disk.file_bytes("/key").unwrap(), first_line);
    }
    for other in [&first_line[..], b"something else", &[&first_line[..], &[0; 118]].concat()] {
        let file = env.disk.open("/key".as_ref(), Mode::Replace).unwrap();
        file.write_at(other, 0).unwrap();
        assert!(matches!(KeyFile::create(&env, "/key"), Err(Error::Exists(_))));
        assert_eq!(disk.file_bytes("/key").unwrap(), other);
    }
}
