//! Any bytes in the place of a keyring that a passphrase wraps, in one mirror or in both, the checksums repaired.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::edit::{edit, number, repair_file, repair_unit, repair_wrapping};
use reelvault_fuzz::image::image_with_passphrase;
use reelvault_fuzz::world::MIRRORS;

/// Where the wrapped data key begins; its cost stands behind a salt.
const WRAPPED_AT: usize = 56;

fuzz_target!(|input: &[u8]| {
    let Some((mode, edits)) = input.split_first() else { return };
    let image = image_with_passphrase();
    let world = image.world.copy();
    let mut bytes = world.disk.file_bytes(MIRRORS[0]).expect("there");
    // Offsets are drawn to the wrapping: the body is longer than all before it.
    let body = bytes.split_off(if mode & 8 == 0 { bytes.len().min(160) } else { bytes.len() });
    edit(&mut bytes, edits);
    bytes.extend_from_slice(&body);
    if mode & 1 == 0 {
        repair_file(&mut bytes);
    }
    if mode & 2 == 0
        && let Some(body) = repair_wrapping(&mut bytes)
    {
        repair_unit(&mut bytes, body);
    }
    // What is within the limits, a gibibyte and a minute, is not found out here.
    let [memory, passes, lanes] = [16, 20, 24].map(|at| number(&bytes, WRAPPED_AT + at));
    let allowed = memory <= 1 << 20 && (1..=64).contains(&passes) && (1..=64).contains(&lanes);
    if allowed && (memory > 512 || passes > 4) {
        return;
    }
    for (bit, mirror) in [0, 4].into_iter().zip(MIRRORS) {
        if mode & bit == 0 {
            world.disk.write_file(mirror, &bytes).expect("written");
        }
    }
    image.look(&world, 1_100);
});
