//! Any bytes in the place of the log of deletions, the checksums of its records repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_units};
use reelvault_fuzz::image::image;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let mut bytes = world.disk.file_bytes("/store/deletions").expect("there");
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        repair_units(&mut bytes, 32);
    }
    world.disk.write_file("/store/deletions", &bytes).expect("written");
    image.look(&world, 700);
});
