//! Writing and reading past the system's cache: for what is written once, in large pieces, and not read soon, and for what must be seen as it
//! stands on the medium.
//!
//! A copy of many gigabytes would push out of memory what a recording service has there, and pays for pages that nobody reads.
//! `O_DIRECT` (open(2)) takes only what is aligned, and not every file system has it; what it does not take goes the usual way.

use std::fs::File as SystemFile;
use std::io;
use std::os::unix::fs::FileExt;

use super::File;
use super::real::read_up_to;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What addresses, offsets and lengths are multiples of: the largest logical block of disks in use.
pub(crate) const ALIGNMENT: usize = 4 << 10;

/// Bytes that can be written and read past the cache.
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    /// So many zeros.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        let from = bytes.as_ptr().align_offset(ALIGNMENT);
        // An address that cannot be aligned is one that is written as usual.
        Self { bytes, from: if from < ALIGNMENT { from } else { 0 }, len }
    }
}

impl zeroize::Zeroize for Aligned {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.len]
    }
}

/// A file with a second descriptor that goes past the cache.
pub(super) struct DirectFile {
    file: SystemFile,
    direct: SystemFile,
    refused: AtomicBool,
}

impl DirectFile {
    pub(super) fn new(file: SystemFile, direct: SystemFile) -> Self {
        Self { file, direct, refused: AtomicBool::new(false) }
    }

    /// How many bytes of this buffer can go past the cache.
    fn direct_bytes(&self, buf: &[u8], offset: u64) -> usize {
        let aligned = buf.as_ptr().align_offset(ALIGNMENT) == 0
            && offset.is_multiple_of(ALIGNMENT as u64)
            && !self.refused.load(Relaxed);
        if aligned { buf.len() / ALIGNMENT * ALIGNMENT } else { 0 }
    }

    /// Writes what can be written past the cache; how many bytes that was.
    fn write_direct(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let whole = self.direct_bytes(buf, offset);
        if whole == 0 {
            return Ok(0);
        }
        match self.direct.write_all_at(&buf[..whole], offset) {
            // The file system wants more than alignment, or was asked for what it only seemed to have.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Relaxed);
                Ok(0)
            }
            written => written.map(|()| whole),
        }
    }
}

impl File for DirectFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.direct_bytes(buf, offset) == buf.len() {
            match self.direct.read_at(buf, offset) {
                // A short read is the end of the file, or goes on where nothing is aligned.
                Ok(n) if n < buf.len() => {
                    return Ok(n + read_up_to(&self.file, &mut buf[n..], offset + n as u64)?);
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                    self.refused.store(true, Relaxed);
                }
                read => return read,
            }
        }
        read_up_to(&self.file, buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let done = self.write_direct(buf, offset)?;
        self.file.write_all_at(&buf[done..], offset + done as u64)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
    #![allow(clippy::disallowed_methods, reason = "the file is read as others would")]

    use std::sync::Arc;

    use super::super::{Disk, File, Mode, RealDisk};
    use super::{ALIGNMENT, Aligned};

    #[test]
    fn what_is_written_past_the_cache_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut buf = Aligned::new(3 * ALIGNMENT + 5);
        assert!(buf.as_ptr().align_offset(ALIGNMENT) == 0);
        for (n, byte) in buf.iter_mut().enumerate() {
            *byte = n as u8 ^ (n >> 8) as u8;
        }
        let file: Arc<dyn File> = RealDisk.open_direct(&path, Mode::Create).unwrap();
        // Aligned with a tail; then an offset, then an address that is not.
        file.write_at(&buf, 0).unwrap();
        file.write_at(&buf, buf.len() as u64).unwrap();
        file.write_at(&buf[7..], 2 * buf.len() as u64).unwrap();
        file.sync().unwrap();
        let expected = [&buf[..], &buf[..], &buf[7..]].concat();
        assert_eq!(file.len().unwrap(), expected.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        let reader = RealDisk.open_direct(&path, Mode::Read).unwrap();
        let mut back = Aligned::new(expected.len().next_multiple_of(ALIGNMENT));
        assert_eq!(reader.read_at(&mut back, 0).unwrap(), expected.len());
        assert_eq!(back[..expected.len()], expected);
        assert_eq!(reader.read_at(&mut back[..7], 3).unwrap(), 7);
        assert_eq!(back[..7], expected[3..10]);
        assert!(reader.write_at(&[0], 0).is_err());
        assert!(RealDisk.open_direct(&path, Mode::Create).is_err());
        let again = RealDisk.open_direct(&path, Mode::Replace).unwrap();
        assert_eq!(again.len().unwrap(), 0);
    }
}
