//! Any bytes in the place of an object of a keyring's mirror in a bucket, or under another name; the other mirrors there or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, repair_file, repair_unit, repair_wrapping};
use reelvault_fuzz::image::image_in_parts;
use reelvault_fuzz::world::MIRRORS;

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, which], edits)) = input.split_first_chunk::<2>() else { return };
    let image = image_in_parts();
    let world = image.world.copy();
    let bucket = world.bucket.clone().expect("a bucket");
    let objects = bucket.objects();
    // The keyring file, which comes first, half of the time.
    let at = if which & 1 == 0 { 0 } else { usize::from(which >> 1) % objects.len() };
    let (name, bytes) = &objects[at];
    let (mut name, mut bytes) = (name.clone().into_bytes(), bytes.to_vec());
    if mode & 4 != 0 {
        bucket.lose(&objects[at].0);
    }
    let to = if mode & 8 == 0 { &mut bytes } else { &mut name };
    edit(to, edits);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0 {
        let body = if at == 0 { repair_wrapping(&mut bytes) } else { Some(32) };
        let _ = body.and_then(|body| repair_unit(&mut bytes, body));
    }
    bucket.spoil(&String::from_utf8_lossy(&name), &bytes);
    for (bit, mirror) in [0x10, 0x20].into_iter().zip(MIRRORS) {
        if mode & bit == 0 {
            world.disk.remove_file(mirror).expect("removed");
        }
    }
    image.look(&world, 900);
});
