//! Writes the seed corpus: a few edits that reach each part of each file, and lives of each kind.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for target in ["open_manifest", "open_journal", "open_segment", "open_keyring"] {
        for mode in [0u8, 3, 8, 16] {
            write(target, &format!("whole-{mode}"), &[mode])?;
            for (n, at) in [0u16, 8, 32, 40, 52, 64, 90, 300, 700].into_iter().enumerate() {
                let [low, high] = at.to_le_bytes();
                let edit = [mode, n as u8, low, high, 1 << (n % 8)];
                write(target, &format!("edit-{mode}-{n}"), &edit)?;
            }
        }
        write(target, "cut", &[0, 5, 100, 0, 0])?;
        write(target, "replaced", b"\0\x07\0\0\xffRVLT and other bytes")?;
    }
    for (n, events) in [
        "{\"type\":4,\"timestamp\":1800014400000}\n{\"type\":2,\"timestamp\":1800014400001}\n",
        "{}\n",
        "{\"timestamp\":1.5e12}\n",
        "[]\n\n",
    ]
    .into_iter()
    .enumerate()
    {
        let head = [n as u8, 0, 1, 0, 0, 0, 9, 0, 0, 0, n as u8, 5];
        write("chunk_check", &format!("chunk-{n}"), &[&head[..], events.as_bytes()].concat())?;
    }
    write("cursor", "none", b"")?;
    write("cursor", "digits", "0".repeat(66).as_bytes())?;
    write("cursor", "edits", &[0, 1, 20, 7, 65, 3])?;
    for seed in 0..12u8 {
        let life: Vec<u8> = (0..90u32)
            .map(|n| {
                (n.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed) * 977) >> 13) as u8
            })
            .collect();
        write("operations", &format!("life-{seed}"), &life)?;
    }
    Ok(())
}
