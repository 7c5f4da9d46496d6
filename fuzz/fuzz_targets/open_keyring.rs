//! Any bytes in the place of one mirror of the keyring or of both, their checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_unit, repair_wrapping};
use reelvault_fuzz::image::image;
use reelvault_fuzz::world::MIRRORS;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let mut bytes = world.disk.file_bytes(MIRRORS[0]).expect("there");
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0
        && let Some(body) = repair_wrapping(&mut bytes)
    {
        repair_unit(&mut bytes, body);
    }
    world.disk.write_file(MIRRORS[0], &bytes).expect("written");
    if mode & 4 == 0 {
        world.disk.write_file(MIRRORS[1], &bytes).expect("written");
    }
    image.look(&world, 400);
});
