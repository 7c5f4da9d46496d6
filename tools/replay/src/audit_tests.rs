use reelvault::env::sim::{Fault, SimClock, SimDisk, Survival, When};
use reelvault::{KeyFile, Options, Store};

use super::*;
use crate::source::LiveStore;

/// A store with one site, and the writer of its audit log, on a simulated disk.
struct World {
    disk: SimDisk,
    clock: SimClock,
    store: Store,
    writer: Mutex<Writer>,
}

fn site_id(n: usize) -> SiteId {
    SiteId::new(format!("site-{n}")).unwrap()
}

impl World {
    fn new(sites: usize) -> Self {
        let (env, disk, clock) = reelvault::env::sim::env(1);
        for folder in ["/keys", "/state"] {
            env.disk.create_dir(folder.as_ref()).unwrap();
        }
        let key = Arc::new(KeyFile::create(&env, Path::new("/keys/key")).unwrap());
        let options = Options::new("/store", [PathBuf::from("/keys/keyring")], key);
        let store = Store::create(options.env(env.clone()).background(false)).unwrap();
        for n in 0..sites {
            store.add_site(site_id(n), 30).unwrap();
        }
        let writer = Mutex::new(Writer {
            env,
            state: "/state".into(),
            source: Arc::new(LiveStore::new(store.clone(), None)),
            figures: Arc::default(),
            logs: HashMap::new(),
            used: 0,
            denied: HashMap::new(),
            failing: HashSet::new(),
            unsynced: HashSet::new(),
            lost: false,
        });
        Self { disk, clock, store, writer }
    }

    /// Writes a deed at a site; whether that can be done.
    fn write(&self, site: usize) -> bool {
        let entry = Entry {
            site: site_id(site),
            who: "user:anna".into(),
            action: Action::Erase,
            session: None,
            outcome: "ok",
            address: "127.0.0.1".into(),
        };
        self.writer.lock().write(&entry).is_ok()
    }

    /// The operation of the disk that is so many from now fails.
    fn fail(&self, from_now: u64, fault: Fault) {
        self.disk.fail(When::Once(self.disk.operations() + from_now), fault);
    }

    fn failed(&self) -> u64 {
        self.writer.lock().figures.failed.load(Relaxed)
    }

    /// How many records of a site are left after a power cut.
    fn survive(&self, site: usize) -> usize {
        let env = self.disk.crash_image(Survival::Nothing).env(&self.clock, 9);
        let mut records = 0;
        let site = self.store.site(&site_id(site)).unwrap();
        read_all(&env, Path::new("/state"), &site, |_| records += 1).unwrap();
        records
    }
}

/// The log was closed because a later record could not be written, and the sync passed it over.
#[test]
fn a_deed_is_on_the_disk_also_where_the_next_one_could_not_be_written() {
    let world = World::new(1);
    assert!(world.write(0) && sync(&world.writer));
    assert!(world.write(0));
    assert_eq!(world.survive(0), 1);
    world.fail(0, Fault::Full);
    assert!(!world.write(0));
    assert!(sync(&world.writer));
    assert_eq!(world.survive(0), 2);
    assert!(world.write(0) && sync(&world.writer));
    assert_eq!((world.survive(0), world.failed()), (3, 1));
}

#[test]
fn a_deed_that_may_never_get_to_the_disk_is_not_acknowledged() {
    let world = World::new(1);
    assert!(world.write(0) && sync(&world.writer));
    assert!(world.write(0));
    // The next record cannot be written, and then what was written before it cannot be synced.
    world.fail(0, Fault::Full);
    world.fail(1, Fault::Io);
    assert!(!world.write(0));
    assert!(!sync(&world.writer));
    assert_eq!(world.failed(), 2);
    assert!(sync(&world.writer), "nobody else is told so");
}

#[test]
fn a_log_that_makes_room_for_another_takes_no_deed_with_it() {
    let world = World::new(OPEN_MAX + 2);
    assert!((1..OPEN_MAX).all(|site| world.write(site)) && sync(&world.writer));
    // The log of the first site is now the one that was used longest ago, and then that of the second.
    assert!(world.write(0) && world.write(1));
    assert!((2..OPEN_MAX).all(|site| world.write(site)) && world.write(OPEN_MAX));
    assert_eq!(world.survive(0), 1, "its log was closed, and synced before");
    world.fail(0, Fault::Io);
    assert!(world.write(OPEN_MAX + 1));
    assert!(!sync(&world.writer));
    assert_eq!(world.survive(1), 1);
}
