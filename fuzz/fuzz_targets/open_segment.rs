//! Any bytes in the place of a segment, the checksums of its units and footer repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::{edit, image, repair_file, repair_footer, repair_unit};

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image();
    let disk = image.copy();
    let files = image.files("/segment/");
    let file = &files[usize::from(mode >> 4) % files.len()];
    let mut bytes = disk.file_bytes(file).expect("there");
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
        let mut at = 32;
        while at + 48 < bytes.len() {
            match repair_unit(&mut bytes, at) {
                Some(end) if end > at => at = end,
                _ => break,
            }
        }
    }
    disk.write_file(file, &bytes).expect("written");
    image.look(&disk, 300);
});
