//! Bugs that real disks, real file systems and a killed process found (`tools/machine`), each with its story.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod common;

use common::sim::{SITES, World};
use common::{NOON, chunk, session, session_id, site_id};
use reelvault::env::sim::{Fault, When};
use reelvault::{Depth, Error, Held};

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
