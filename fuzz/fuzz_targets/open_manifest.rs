//! Any bytes in the place of the manifest, their checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_unit};
use reelvault_fuzz::image::image;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let mut bytes = world.disk.file_bytes("/store/manifest").expect("there");
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        repair_unit(&mut bytes, 32);
    }
    world.disk.write_file("/store/manifest", &bytes).expect("written");
    image.look(&world, 100);
});
