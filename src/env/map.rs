//! The one place with `unsafe`: memory maps of segment files.
//!
//! A map is offered for offline tools. In a service a bad sector under a map ends the process with
//! SIGBUS, where a read returns an error, so the engine reads with `pread` unless asked.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A whole file, mapped for reading.
#[derive(Debug)]
pub struct Mapping(Mmap);

impl Mapping {
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only and private to this process. The engine maps segment files
        // alone, which no one writes to or shortens once they are published; a foreign process
        // that truncates one can end this process with SIGBUS, which `Options::memory_maps` says.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }
}

impl std::ops::Deref for Mapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn a_map_shows_the_whole_file_and_outlives_its_handle() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        let map = Mapping::new(&file).unwrap();
        drop(file);
        let sum = std::thread::scope(|scope| {
            let halves = map.split_at(map.len() / 2);
            let add = |half: &[u8]| half.iter().map(|b| u64::from(*b)).sum::<u64>();
            let other = scope.spawn(move || add(halves.0));
            add(halves.1) + other.join().unwrap()
        });
        assert_eq!(sum, bytes.iter().map(|b| u64::from(*b)).sum::<u64>());
        assert!(*map == *bytes);
    }
}
