//! What a power cut takes and what it leaves.

use super::*;

#[test]
fn an_unsynced_write_is_lost_in_some_images_and_kept_in_others() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", b"old");
    file.write_at(b"new", 0).unwrap();
    let seen = outcomes(&disk, "/a");
    assert!(seen.contains(&some(b"old")) && seen.contains(&some(b"new")));
    assert!(seen.iter().all(|bytes| *bytes == some(b"old") || *bytes == some(b"new")));
    let fixed = |survival| disk.crash_image(survival).file_bytes("/a").unwrap();
    assert_eq!(fixed(Survival::Nothing), b"old");
    assert_eq!(fixed(Survival::Everything), b"new");
    assert_eq!(disk.file_bytes("/a").unwrap(), b"new", "the disk itself goes on unharmed");
}

#[test]
fn a_write_is_torn_between_units_and_never_within_one() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", &[1; 8 * UNIT]);
    // Not aligned: the first and the last unit keep a part of the old bytes.
    file.write_at(&[2; 6 * UNIT], 100).unwrap();
    let new = disk.file_bytes("/a").unwrap();
    let mut patterns = std::collections::BTreeSet::new();
    for bytes in outcomes(&disk, "/a").into_iter().flatten() {
        let pattern: Vec<bool> = (0..8)
            .map(|unit| {
                let range = unit * UNIT..(unit + 1) * UNIT;
                let kept = bytes[range.clone()] == new[range.clone()];
                assert!(kept || bytes[range] == [1; UNIT]);
                kept
            })
            .collect();
        patterns.insert(pattern);
    }
    assert!(patterns.len() > 50, "{} of 128 patterns", patterns.len());
}

#[test]
fn a_later_write_can_survive_an_earlier_one() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", &[0; 2 * UNIT]);
    file.write_at(&[1; UNIT], 0).unwrap();
    let first = disk.operations() - 1;
    file.write_at(&[2; UNIT], UNIT as u64).unwrap();
    let only_later = some(&[[0; UNIT], [2; UNIT]].concat());
    assert!(outcomes(&disk, "/a").contains(&only_later));
    assert_eq!(disk.pending_operations(), [first, first + 1]);
    let fixed = |survival| disk.crash_image(survival).file_bytes("/a").ok();
    assert_eq!(fixed(Survival::Without(first)), only_later);
    assert_eq!(fixed(Survival::Only(first + 1)), only_later);
    assert_eq!(fixed(Survival::Before(first + 1)), some(&[[1; UNIT], [0; UNIT]].concat()));
}

#[test]
fn a_later_version_of_a_unit_carries_the_earlier_writes_to_it() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", b"....");
    file.write_at(b"1", 0).unwrap();
    file.write_at(b"2", 1).unwrap();
    let seen = outcomes(&disk, "/a");
    for possible in [b"....", b"1...", b"12.."] {
        assert!(seen.contains(&some(possible)));
    }
    assert!(!seen.contains(&some(b".2..")));
}

#[test]
fn a_length_can_survive_without_its_data_and_data_without_its_length() {
    let disk = SimDisk::new();
    let file = durable(&disk, "/a", b"head");
    file.write_at(b"tail", 4).unwrap();
    let seen = outcomes(&disk, "/a");
    for possible in [&b"head"[..], b"headtail", b"head\0\0\0\0"] {
        assert!(seen.contains(&some(possible)), "{possible:?}");
    }
    file.sync().unwrap();
    file.set_len(2).unwrap();
    file.set_len(6).unwrap();
    let seen = outcomes(&disk, "/a");
    for possible in [&b"headtail"[..], b"he", b"he\0\0\0\0"] {
        assert!(seen.contains(&some(possible)), "{possible:?}");
    }
    assert_eq!(disk.file_bytes("/a").unwrap(), b"he\0\0\0\0");
}

#[test]
fn a_created_file_can_vanish_although_it_was_synced() {
    let disk = SimDisk::new();
    let file = disk.open(path("/a"), Mode::Create).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    let seen = outcomes(&disk, "/a");
    assert!(seen.contains(&None) && seen.contains(&some(b"x")));
    disk.sync_dir(path("/")).unwrap();
    assert!(outcomes(&disk, "/a").iter().all(|bytes| *bytes == some(b"x")));
}

#[test]
fn a_directory_can_vanish_with_what_was_synced_in_it() {
    let disk = SimDisk::new();
    disk.create_dir(path("/d/e")).unwrap();
    durable(&disk, "/other", b"");
    let file = disk.open(path("/d/e/a"), Mode::Create).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/d/e")).unwrap();
    let seen = outcomes(&disk, "/d/e/a");
    assert!(seen.contains(&None) && seen.contains(&some(b"")));
    disk.sync_dir(path("/d")).unwrap();
    assert!(outcomes(&disk, "/d/e/a").iter().all(Option::is_some));
}

#[test]
fn a_rename_is_whole_but_can_be_lost_or_outlive_the_data_of_its_file() {
    let disk = SimDisk::new();
    durable(&disk, "/a", b"old");
    let file = disk.open(path("/a.tmp"), Mode::Create).unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.rename(path("/a.tmp"), path("/a")).unwrap();
    let rename = disk.operations() - 1;
    let seen = outcomes(&disk, "/a");
    for possible in [&b"old"[..], b"new", b"", b"\0\0\0"] {
        assert!(seen.contains(&some(possible)), "{possible:?}");
    }
    assert!(!seen.contains(&None), "one of both is there");
    let image = disk.crash_image(Survival::Only(rename));
    assert_eq!(image.file_bytes("/a").unwrap(), b"\0\0\0", "it takes its file's creation along");
    file.sync().unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert!(outcomes(&disk, "/a").iter().all(|bytes| *bytes == some(b"new")));
}

#[test]
fn a_rename_between_directories_is_one_change() {
    let disk = SimDisk::new();
    for dir in ["/from", "/to"] {
        disk.create_dir(path(dir)).unwrap();
    }
    disk.write_file("/from/a", b"x").unwrap();
    disk.rename(path("/from/a"), path("/to/a")).unwrap();
    let at = |image: &SimDisk| ["/from/a", "/to/a"].map(|name| image.exists(path(name)).unwrap());
    for seed in 0..500 {
        let [from, to] = at(&disk.crash_image(Survival::Random(seed)));
        assert!(from != to);
    }
    disk.sync_dir(path("/from")).unwrap();
    assert_eq!(at(&disk.crash_image(Survival::Nothing)), [false, true]);
}

#[test]
fn independent_directory_changes_are_reordered_and_dependent_ones_are_not() {
    let disk = SimDisk::new();
    for name in ["/a", "/b"] {
        disk.open(path(name), Mode::Create).unwrap();
    }
    disk.rename(path("/a"), path("/c")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        seen.insert(disk.crash_image(Survival::Random(seed)).paths());
    }
    let expected: [&[&str]; 6] = [&[], &["/a"], &["/b"], &["/c"], &["/a", "/b"], &["/b", "/c"]];
    assert_eq!(seen, expected.iter().map(|names| names.iter().map(Into::into).collect()).collect());
}

#[test]
fn synced_data_is_in_every_one_of_500_images() {
    let disk = SimDisk::new();
    let mut random = random::SplitMix::new(7);
    let mut synced = Vec::new();
    let files: Vec<_> = ["/a", "/b"].map(|name| (name, durable(&disk, name, b""))).into();
    for _ in 0..300 {
        let (name, file) = &files[random.below(2) as usize];
        // Each place is written once, so what is synced stays.
        let at = file.len().unwrap() + random.below(900);
        let bytes = vec![random.below(256) as u8; 1 + random.below(3000) as usize];
        file.write_at(&bytes, at).unwrap();
        synced.push((*name, at, bytes));
        if random.is(3) {
            files.iter().for_each(|(_, file)| file.sync().unwrap());
            let image = disk.crash_image(Survival::Nothing);
            assert_eq!(image.file_bytes("/a").unwrap(), disk.file_bytes("/a").unwrap());
        }
    }
    files.iter().for_each(|(_, file)| file.sync().unwrap());
    for (_, file) in &files {
        file.write_at(&[9; 5000], file.len().unwrap()).unwrap();
    }
    for seed in 0..500 {
        let image = disk.crash_image(Survival::Random(seed));
        let contents = ["/a", "/b"].map(|name| image.file_bytes(name).unwrap());
        for (name, at, bytes) in &synced {
            let content = &contents[usize::from(*name == "/b")];
            assert_eq!(&content[*at as usize..][..bytes.len()], &bytes[..]);
        }
    }
}

#[test]
fn images_of_one_seed_are_alike() {
    let disk = SimDisk::new();
    let file = disk.open(path("/a"), Mode::Create).unwrap();
    file.write_at(&vec![1; 100 * UNIT], 0).unwrap();
    assert_eq!(outcomes(&disk, "/a"), outcomes(&disk, "/a"));
}
