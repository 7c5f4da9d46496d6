//! What the tests of backups share: a store on the simulated disk with recordings in segments and journals, and a repository for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reelvault::backup::{Backup, DirPlace, Done, How, Place, Repository, Restored, What};
use reelvault::env::Clock;
use reelvault::env::sim::SimDisk;
use reelvault::{Options, Query, Result, Store};

use super::sim::{SITES, World, key_on, options};
use super::{chunk, session, site_id};

/// Nobody watches, and nothing stops.
pub(crate) const ON: &(dyn Fn(reelvault::backup::Progress) -> bool + Sync) = &|_| true;

/// What a store holds: the events by site and session.
pub(crate) type Content = BTreeMap<(String, String), Vec<u8>>;

/// Appends `chunks` chunks to each of some sessions of both sites.
pub(crate) fn record(world: &World, store: &Store, names: &[&str], from: u64, chunks: u64) {
    let now = world.clock.now_ms();
    for site in SITES {
        let at = store.site(&site_id(site)).unwrap();
        for name in names {
            for seq in from..from + chunks {
                let name = format!("{site}-{name}");
                let chunk = chunk(&name, seq, now + seq * 1_000, 3_000);
                at.append(&session(&name), &chunk).unwrap();
            }
        }
    }
}

/// Everything that can be read of a store.
pub(crate) fn content(store: &Store) -> Content {
    let mut all = Content::new();
    for info in store.sites() {
        let site = store.site(&info.id).unwrap();
        for found in site.sessions(&Query::new().limit(1_000)).unwrap().sessions {
            let mut events = Vec::new();
            site.replay(&found.id).unwrap().write_to(&mut events).unwrap();
            all.insert((info.id.to_string(), found.id.to_string()), events);
        }
    }
    all
}

pub(crate) fn dir_place(world: &World, disk: &SimDisk, seed: u64) -> Arc<dyn Place> {
    Arc::new(DirPlace::new(&disk.env(&world.clock, seed), "/backup"))
}

/// Options of the store on this disk.
pub(crate) fn options_on(world: &World, disk: &SimDisk, seed: u64) -> Options {
    let env = disk.env(&world.clock, seed);
    let provider = key_on(&env).unwrap();
    options(env, &provider)
}

pub(crate) fn repository(
    world: &World,
    disk: &SimDisk,
    place: &Arc<dyn Place>,
    seed: u64,
) -> Result<Repository> {
    Repository::open_or_make(Arc::clone(place), options_on(world, disk, seed))
}

pub(crate) fn back_up(repository: &Repository) -> Result<Done> {
    Backup::new(repository, Path::new("/store"))?.run(&How::default(), ON)
}

/// Backs up what is sound: no damage is told of.
pub(crate) fn back_up_whole(repository: &Repository) {
    let done = back_up(repository).unwrap();
    assert!(done.damage.is_empty(), "{:?}", done.damage);
}

/// Restores what is sound: no damage is told of.
pub(crate) fn restore(repository: &Repository, number: u64, dir: &str, what: &What) -> Restored {
    let restored = repository.restore(number, dir, what, ON).unwrap();
    assert!(restored.damage.is_empty(), "{:?}", restored.damage);
    restored
}

/// Opens what was restored into a directory.
pub(crate) fn open_restored(world: &World, disk: &SimDisk, dir: &str, seed: u64) -> Result<Store> {
    let mirrors = ["/keys/a/keyring", "/keys/b/keyring"].map(std::path::PathBuf::from);
    let env = disk.env(&world.clock, seed);
    let provider = key_on(&env)?;
    let options = Options::new(dir, mirrors, provider).env(env).shards(2).background(false);
    Store::open_read_only(options)
}
