//! Any bytes as rrweb events: refused, or a chunk whose times and snapshots are those that another parser finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reelvault::Chunk;
use reelvault_fuzz as _;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Ok(chunk) = Chunk::from_events(3, input) else { return };
    assert_eq!(&*chunk.events, input);
    let mut starts = vec![0];
    let mut times = Vec::new();
    for line in input.split_inclusive(|b| *b == b'\n') {
        // What is in an event beside its time is not looked at: half of a surrogate is, by this parser alone.
        let Ok(event) = serde_json::from_slice::<Value>(line) else { return };
        times.push(
            event.as_object().expect("an object")["timestamp"].as_f64().expect("a time") as u64
        );
        starts.push(starts[starts.len() - 1] + line.len());
    }
    assert_eq!(Some(&chunk.first_ms), times.iter().min());
    assert_eq!(Some(&chunk.last_ms), times.iter().max());
    for snapshot in &chunk.snapshots {
        let line = starts.binary_search(&(snapshot.offset as usize)).expect("at a line");
        assert_eq!(times[line], snapshot.ms);
    }
    assert!(chunk.snapshots.is_sorted_by(|a, b| a.offset < b.offset));
});
