//! Any bytes for the decoders of what stands behind seals, the first byte says which: refused, or the same once it was written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault::fuzzing::{DECODERS, Decoded};
use reelvault_fuzz as _;

fuzz_target!(|input: &[u8]| {
    let Some((which, bytes)) = input.split_first() else { return };
    let (name, decode) = DECODERS[usize::from(*which) % DECODERS.len()];
    assert_ne!(decode(bytes), Decoded::Differs, "{name}");
});
