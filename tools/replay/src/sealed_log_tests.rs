use std::sync::Arc;

use reelvault::{KeyFile, Options, Store};

use super::*;

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::create(&Env::real(), folder.path().join("key")).unwrap();
        let mirrors = [folder.path().join("keyring/a")];
        let options = Options::new(folder.path().join("store"), mirrors, Arc::new(key));
        let store = Store::create(options.background(false)).unwrap();
        Self { folder, store }
    }

    fn at(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn sealer(&self) -> Sealer {
        self.store.sealer("test").unwrap()
    }

    fn open(&self) -> Result<SealedLog> {
        SealedLog::open(&Env::real(), &self.at(), self.sealer())
    }

    fn all(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        read_all(&Env::real(), &self.at(), &self.sealer(), |r| all.push(r.plain))?;
        Ok(all)
    }

    fn file(&self, first: u64) -> PathBuf {
        file_path(&self.at(), first)
    }
}

fn text(n: u64) -> Vec<u8> {
    format!("record {n}").into_bytes()
}

#[test]
fn what_was_appended_is_read_again_also_after_reopening() {
    let world = World::new();
    for n in 1..=5 {
        let mut log = world.open().unwrap();
        assert_eq!(log.append(&text(n)).unwrap(), n);
        log.sync().unwrap();
    }
    assert_eq!(world.all().unwrap(), (1..=5).map(text).collect::<Vec<_>>());
    let page = |before, limit| {
        let page = newest(&Env::real(), &world.at(), &world.sealer(), before, limit).unwrap();
        page.iter().map(|r| r.number).collect::<Vec<_>>()
    };
    assert_eq!(page(u64::MAX, 2), [5, 4]);
    assert_eq!(page(4, 9), [3, 2, 1]);
    assert!(page(1, 9).is_empty());
    let on_disk = std::fs::read(world.file(1)).unwrap();
    assert!(!on_disk.windows(6).any(|w| w == b"record"));
}

#[test]
fn a_full_file_is_followed_by_another() {
    let world = World::new();
    let mut log = world.open().unwrap();
    let big = vec![7; RECORD_BYTES_MAX];
    for _ in 0..300 {
        log.append(&big).unwrap();
    }
    assert!(log.append(&vec![7; RECORD_BYTES_MAX + 1]).is_err());
    drop(log);
    assert_eq!(files(&Env::real(), &world.at()).unwrap().len(), 3);
    assert_eq!(world.all().unwrap().len(), 300);
    let page = newest(&Env::real(), &world.at(), &world.sealer(), 290, 200).unwrap();
    assert_eq!((page[0].number, page[199].number), (289, 90));
    assert_eq!(world.open().unwrap().append(&text(1)).unwrap(), 301);
    // A file that is gone is missed from both ends.
    let middle = files(&Env::real(), &world.at()).unwrap()[1];
    std::fs::remove_file(world.file(middle)).unwrap();
    assert!(matches!(world.all(), Err(LogError::Damaged(n)) if n == middle));
    let page = newest(&Env::real(), &world.at(), &world.sealer(), u64::MAX, 400);
    assert!(matches!(page, Err(LogError::Damaged(_))));
}

#[test]
fn what_a_crash_tore_is_written_over_and_everything_else_is_damage() {
    let world = World::new();
    let mut log = world.open().unwrap();
    for n in 1..=3 {
        log.append(&text(n)).unwrap();
    }
    drop(log);
    let whole = std::fs::read(world.file(1)).unwrap();
    let third = whole.len() / 3 * 2;
    for cut in third..whole.len() {
        std::fs::write(world.file(1), &whole[..cut]).unwrap();
        assert_eq!(world.all().unwrap().len(), 2, "{cut}");
        assert_eq!(world.open().unwrap().append(&text(9)).unwrap(), 3);
        assert_eq!(world.all().unwrap(), [text(1), text(2), text(9)]);
    }
    for at in 0..third {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 1;
        std::fs::write(world.file(1), &spoiled).unwrap();
        assert!(matches!(world.all(), Err(LogError::Damaged(1 | 2))), "{at}");
    }
    // A record left out.
    std::fs::write(world.file(1), [&whole[..third / 2], &whole[third..]].concat()).unwrap();
    assert!(matches!(world.all(), Err(LogError::Damaged(2))));
}
