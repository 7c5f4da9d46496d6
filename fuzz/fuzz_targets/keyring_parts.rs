//! Any bytes in the place of a part of the keyring in some of its mirrors, the checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_unit};
use reelvault_fuzz::image::image_in_parts;

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, which], edits)) = input.split_first_chunk::<2>() else { return };
    let image = image_in_parts();
    let world = image.world.copy();
    let bucket = world.bucket.clone().expect("a bucket");
    let parts: Vec<_> =
        bucket.objects().into_iter().filter(|o| o.0.starts_with("parts/")).collect();
    let (name, bytes) = &parts[usize::from(which) % parts.len()];
    let mut bytes = bytes.to_vec();
    edit(&mut bytes, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        repair_unit(&mut bytes, 32);
    }
    let file = name.strip_prefix("parts/").expect("a part");
    for (bit, mirror) in [(4, "a"), (8, "b")] {
        if mode & bit == 0 {
            let path = format!("/keys/{mirror}/keyring.parts/{file}");
            world.disk.file_bytes(&path).expect("the same part");
            world.disk.write_file(&path, &bytes).expect("written");
        }
    }
    match mode & 0x30 {
        0 => bucket.spoil(name, &bytes),
        0x10 => bucket.lose(name),
        _ => {}
    }
    image.look(&world, 800);
});
