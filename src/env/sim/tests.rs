//! What the simulated disk does, and that a crash test on it has teeth.

mod faults;
mod power_cut;
mod surface;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::env::{Disk, File, Mode};

const UNIT: usize = 512;

fn path(s: &str) -> &Path {
    Path::new(s)
}

/// A file that is durable with its name.
fn durable(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.open(path(name), Mode::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(path("/")).unwrap();
    file
}

/// What 500 random power cuts leave of a file.
fn outcomes(disk: &SimDisk, name: &str) -> Vec<Option<Vec<u8>>> {
    (0..500).map(|seed| disk.crash_image(Survival::Random(seed)).file_bytes(name).ok()).collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}
