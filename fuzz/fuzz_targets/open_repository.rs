//! Any bytes in the place of an object of a repository, their checksums repaired, or none; then it is listed, opened, checked,
//! restored, built on and pruned.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::backups::{look_at_repository, repository};
use reelvault_fuzz::edit::{edit, repair_file, repair_unit, repair_units};

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, which], edits)) = input.split_first_chunk::<2>() else { return };
    let bucket = repository();
    let objects = bucket.objects();
    let (name, bytes) = &objects[usize::from(which) % objects.len()];
    let mut bytes = bytes.to_vec();
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        // Of a journal or the log it is a piece, which begins with a file header, and may have many units.
        match name.contains("/piece/") {
            true => repair_units(&mut bytes, 32),
            false => drop(repair_unit(&mut bytes, 32)),
        }
    }
    match mode & 4 {
        0 => bucket.spoil(name, &bytes),
        _ => bucket.lose(name),
    }
    look_at_repository(&bucket, 500);
});
