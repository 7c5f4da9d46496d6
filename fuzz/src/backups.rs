//! A repository with a backup, and all that can be done with one.

use std::sync::{Arc, OnceLock};

use reelvault::backup::{Backup, How, Keep, Progress, ReadShare, Repository, SimPlace, What};
use reelvault::limits::PRUNE_GRACE_MS_MIN;
use reelvault::{Error, Store};

use crate::NOON;
use crate::image::{Image, image};
use crate::world::{DIR, World, copy_of};

/// Nobody watches.
pub const ON: &(dyn Fn(Progress) -> bool + Sync) = &|_| true;

/// Makes a backup of a machine's store.
pub fn back_up(world: &World, bucket: &SimPlace, seed: u64) -> Result<Repository, Error> {
    let repository = Repository::open_or_make(Arc::new(bucket.clone()), world.options(seed)?)?;
    Backup::new(&repository, DIR)?.run(&How::default(), ON)?;
    Ok(repository)
}

/// A repository with two backups of the store that the targets spoil, and a mark of a prune; every one is a copy.
pub fn repository() -> SimPlace {
    static FULL: OnceLock<SimPlace> = OnceLock::new();
    copy_of(FULL.get_or_init(|| {
        let bucket = SimPlace::new(NOON, 1);
        let world = &image().world;
        back_up(world, &bucket, 3).expect("a backup");
        // A piece that no snapshot names, for a prune to write down.
        let (name, bytes) =
            bucket.objects().into_iter().find(|o| o.0.contains("/piece/")).expect("one");
        let other = format!("{}{}", &name[..name.len() - 32], "0".repeat(32));
        bucket.spoil(&other, &bytes);
        let repository = back_up(world, &bucket, 4).expect("a backup");
        let keep = Keep { last: 2, ..Keep::default() };
        repository.prune(&keep, PRUNE_GRACE_MS_MIN, false).expect("pruned");
        assert!(bucket.objects().iter().any(|(name, _)| name.contains("/mark/")), "a mark");
        bucket
    }))
}

/// Does everything that can be done with a spoiled repository; what is read must be what was sent.
///
/// # Panics
/// If it is not.
pub fn look_at_repository(bucket: &SimPlace, seed: u64) {
    let image = image();
    let world = image.world.copy();
    let options = world.options(seed).expect("keys");
    if let Ok(repository) = Repository::open(Arc::new(bucket.clone()), options) {
        let _ = (repository.snapshots(), repository.newest(), repository.latest(Some(NOON)));
        let _ = repository.check(ReadShare::All, ON);
        if let Ok(number) = repository.latest(None) {
            read_snapshot(image, &repository, number);
            for (dir, what) in [("/all", What::All), ("/one", What::Site(crate::site_id(0)))] {
                if repository.restore(number, dir, &what, ON).is_ok() {
                    let restored = world.options_at(dir, seed + 1).and_then(Store::open_read_only);
                    let _ = restored.map(|store| image.read(&store));
                }
            }
        }
    }
    if let Ok(repository) = back_up(&world, bucket, seed + 2) {
        if let Ok(number) = repository.latest(None) {
            read_snapshot(image, &repository, number);
        }
        let keep = Keep { last: 1, ..Keep::default() };
        let _ = repository.prune(&keep, PRUNE_GRACE_MS_MIN, false);
        bucket.set_now_ms(NOON + 2 * PRUNE_GRACE_MS_MIN);
        let _ = repository.prune(&keep, PRUNE_GRACE_MS_MIN, false);
        if let Ok(number) = repository.latest(None) {
            read_snapshot(image, &repository, number);
        }
    }
}

fn read_snapshot(image: &Image, repository: &Repository, number: u64) {
    if let Ok(store) = repository.open_snapshot(number) {
        image.read(&store);
    }
}
