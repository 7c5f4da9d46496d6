//! Any bytes in the place of the manifest, their checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::{edit, image, repair_file, repair_unit};

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let disk = image.copy();
    let mut bytes = disk.file_bytes("/store/manifest").expect("there");
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        repair_unit(&mut bytes, 32);
    }
    disk.write_file("/store/manifest", &bytes).expect("written");
    image.look(&disk, 100);
});
