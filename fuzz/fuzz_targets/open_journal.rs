//! Any bytes in the place of a journal, the checksums of its head and frames repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_frames, repair_unit};
use reelvault_fuzz::image::image;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let world = image.world.copy();
    let files = world.files("/journal/");
    let file = &files[usize::from(mode >> 4) % files.len()];
    let mut bytes = world.disk.file_bytes(file).expect("there");
    // Offsets are drawn to where the frames are: the page of the head is mostly zeros.
    let mut page = bytes.drain(..4096).collect::<Vec<u8>>();
    if mode & 8 == 0 {
        edit(&mut bytes, edits);
        page.extend_from_slice(&bytes);
        bytes = page;
    } else {
        edit(&mut page, edits);
        page.extend_from_slice(&bytes);
        bytes = page;
    }
    if mode & 1 == 0 {
        repair_file(&mut bytes);
        repair_unit(&mut bytes, 32);
    }
    if mode & 2 == 0 {
        repair_frames(&mut bytes);
    }
    world.disk.write_file(file, &bytes).expect("written");
    image.look(&world, 200);
});
