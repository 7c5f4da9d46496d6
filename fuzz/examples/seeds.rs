//! Writes the seed corpus: a few edits that reach each part of each file, encodings of what is behind seals, and lives of each kind.

use std::path::Path;

use reelvault::fuzzing::{DECODERS, Decoded};
use reelvault_fuzz::encodings;

/// Targets whose input is a mode and edits.
const OF_EDITS: [&str; 7] = [
    "open_manifest",
    "open_journal",
    "open_segment",
    "open_deletions",
    "open_keyring",
    "key_file",
    "passphrase",
];
/// Those with the number of a file or an object behind the mode.
const OF_OBJECTS: [&str; 3] = ["open_repository", "keyring_parts", "keyring_bucket"];

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for target in OF_EDITS {
        for mode in [0u8, 8, 16] {
            for (name, edits) in edits() {
                write(target, &format!("{name}-{mode}"), &[&[mode], &edits[..]].concat())?;
            }
        }
    }
    for target in OF_OBJECTS {
        for (n, (name, edits)) in edits().into_iter().enumerate() {
            for (mode, which) in [(0, n as u8), (12, n as u8 * 3 + 1), (0x30, 0)] {
                let head = [mode, which];
                write(target, &format!("{name}-{mode}"), &[&head[..], &edits[..]].concat())?;
            }
        }
    }
    for (name, input) in encodings::all() {
        let decode = DECODERS[usize::from(input[0])].1;
        assert_eq!(decode(&input[1..]), Decoded::Same, "{name}");
        write("decoders", &name, &input)?;
    }
    for (n, events) in [
        "{\"type\":4,\"timestamp\":1800014400000}\n{\"type\":2,\"timestamp\":1800014400001}\n",
        "{}\n",
        "{\"timestamp\":1.5e12}\n",
        "[]\n\n",
        "{\"type\":3,\"data\":{\"a\":[1,\"\\u00e9\"]},\"timestamp\":1800014400000.5}\n",
    ]
    .into_iter()
    .enumerate()
    {
        let head = [n as u8, 0, 1, 0, 0, 0, 9, 0, 0, 0, n as u8, 5];
        write("chunk_check", &format!("chunk-{n}"), &[&head[..], events.as_bytes()].concat())?;
        write("rrweb", &format!("events-{n}"), events.as_bytes())?;
    }
    write("cursor", "none", b"")?;
    write("cursor", "digits", "0".repeat(66).as_bytes())?;
    write("cursor", "edits", &[0, 1, 20, 7, 65, 3])?;
    for seed in 0..24u8 {
        write("operations", &format!("life-{seed}"), &life(seed))?;
    }
    Ok(())
}

/// Edits of each kind at each place that means something in most files.
fn edits() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("whole".into(), vec![]),
        ("cut".into(), vec![5, 100, 0, 0]),
        ("replaced".into(), b"\x07\0\0\xffRVLT and other bytes".to_vec()),
    ];
    for (n, at) in [0u16, 8, 32, 40, 52, 64, 90, 300, 700].into_iter().enumerate() {
        let [low, high] = at.to_le_bytes();
        all.push((format!("edit-{n}"), vec![n as u8, low, high, 1 << (n % 8)]));
    }
    all
}

/// A life: by chance, but what comes late in one is looked at in the end.
fn life(seed: u8) -> Vec<u8> {
    let mut life: Vec<u8> = (0..120u32)
        .map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed) * 977) >> 13) as u8)
        .collect();
    // Appends, a backup, a deed, days, retention, and looks at everything.
    let deed = [23, 24, 25, 26, 27, 15, 14, 19][usize::from(seed % 8)];
    for kind in [0, 0, 29, deed, 0, 12, 28, 31, 21, 22, 28, 31] {
        life.extend([kind, seed & 0xc1 | 22, 0]);
    }
    life
}
