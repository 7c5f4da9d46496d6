//! Any text in the place of the key file, the checksums of its slots repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_slots};
use reelvault_fuzz::image::image;
use reelvault_fuzz::world::KEY;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let mut text = world.disk.file_bytes(KEY).expect("there");
    edit(&mut text, edits);
    if mode & 1 == 0 {
        repair_slots(&mut text);
    }
    world.disk.write_file(KEY, &text).expect("written");
    image.look(&world, 1_000);
});
