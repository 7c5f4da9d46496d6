//! Any list of operations, on a disk that may fail and crash: what was acknowledged is there in the end, what was deleted is not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault_fuzz::life::live;

fuzz_target!(|input: &[u8]| live(input));
