//! Any bytes in the place of a segment, the checksums of its units and footer repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_footer, repair_units};
use reelvault_fuzz::image::image;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let files = world.files("/segment/");
    let file = &files[usize::from(mode >> 4) % files.len()];
    let mut bytes = world.disk.file_bytes(file).expect("there");
    let whole = bytes.len();
    edit(&mut bytes, edits);
    // Of another length it is refused before it is read.
    if mode & 8 == 0 {
        bytes.resize(whole, 0);
    }
    if mode & 1 == 0 {
        repair_file(&mut bytes);
        repair_footer(&mut bytes);
    }
    if mode & 2 == 0 {
        repair_units(&mut bytes, 32);
    }
    world.disk.write_file(file, &bytes).expect("written");
    image.look(&world, 300);
});
