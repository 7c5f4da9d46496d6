//! Any bytes in the place of one mirror of the keyring or of both, their checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::{edit, image, repair_file, repair_unit, repair_wrapping};

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let disk = image.copy();
    let mut bytes = disk.file_bytes("/keys/a/keyring").expect("there");
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0
        && let Some(body) = repair_wrapping(&mut bytes)
    {
        repair_unit(&mut bytes, body);
    }
    disk.write_file("/keys/a/keyring", &bytes).expect("written");
    if mode & 4 == 0 {
        disk.write_file("/keys/b/keyring", &bytes).expect("written");
    }
    image.look(&disk, 400);
});
