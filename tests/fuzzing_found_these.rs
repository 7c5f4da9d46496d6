//! Bugs that the fuzz targets found, each with its story.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use common::backups::ON;
use common::sim::{SITES, World, key_on, options};
use common::{DAY, chunk, session, session_id, site_id};
use reelvault::backup::{Backup, How, Repository, SimPlace};
use reelvault::env::Clock;
use reelvault::env::sim::{Fault, Survival, When};
use reelvault::{Depth, Error, Held, Retention};

/// On a disk that was full, the file of a segment whose sessions had all been erased went before the manifest said so, as
/// those of a day that has passed do. When there was no room for the manifest even then, everybody who looked for a session of
/// that day was told of a damaged store: the keys of the day were still there.
#[test]
fn reclaiming_on_a_full_disk_leaves_no_segment_that_is_named_and_missing() {
    let world = World::new(1);
    let store = world.open(&world.disk, 1).unwrap();
    let site = store.site(&site_id(SITES[0])).unwrap();
    site.append(&session("s-1"), &chunk("s-1", 0, world.clock.now_ms(), 300)).unwrap();
    store.archive().unwrap();
    site.erase_sessions([session_id("s-1")], Held::Refuse).unwrap();
    world.disk.fail(When::From(world.disk.operations()), Fault::Full);
    assert!(matches!(store.reclaim(0.1), Err(Error::DiskFull { .. })));
    for survival in [Survival::Nothing, Survival::Everything] {
        let store = world.open(&world.disk.crash_image(survival), 2).unwrap();
        let site = store.site(&site_id(SITES[0])).unwrap();
        assert!(matches!(site.session(&session_id("s-1")), Err(Error::Erased)));
        assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
    }
    // With room again, it goes.
    world.disk.heal();
    assert_eq!(store.reclaim(0.1).unwrap().segments, 1);
    assert!(store.verify(Depth::Content, |_, _| ()).unwrap().is_sound());
}

/// As the segment that was erased, so the copy of a session that could not be held, for the disk was full: its file went before the
/// manifest said so. And where the day of a segment had come, a backup did not know that its file may be missing. In both no backup
/// could be made until the disk had room again, which is when one wants it.
#[test]
fn a_store_on_a_full_disk_can_still_be_backed_up() {
    for days in [0, 40] {
        for steps in 0..40 {
            let world = World::new(1);
            let store = world.open(&world.disk, 1).unwrap();
            let site = store.site(&site_id(SITES[0])).unwrap();
            site.append(&session("s-1"), &chunk("s-1", 0, world.clock.now_ms(), 300)).unwrap();
            store.archive().unwrap();
            world.disk.fail(When::From(world.disk.operations() + steps), Fault::Full);
            let _ = site.hold(&session_id("s-1"), "a dispute");
            world.clock.advance_ms(days * DAY);
            let _ = store.retention(&Retention::new().trust_clock());
            let env = world.disk.env(&world.clock, 2);
            let options = options(env.clone(), &key_on(&env).unwrap());
            let bucket = SimPlace::new(world.clock.now_ms(), 1);
            let repository =
                Repository::open_or_make(std::sync::Arc::new(bucket), options).unwrap();
            let mut backup = Backup::new(&repository, "/store").unwrap();
            assert!(backup.run(&How::default(), ON).unwrap().damage.is_empty());
        }
    }
}
