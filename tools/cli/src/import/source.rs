//! A file as a stream of bytes, unpacked, with its progress told.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP: &[u8] = &[0x1f, 0x8b];
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
const BUFFER_BYTES: usize = 64 << 10;

/// Opens a file and unpacks it, whatever it is packed by.
pub(super) fn open(path: &Path, bar: &ProgressBar) -> io::Result<Box<dyn BufRead>> {
    let counted = Counted { file: File::open(path)?, bar: bar.clone() };
    let mut packed = BufReader::with_capacity(BUFFER_BYTES, counted);
    let head = packed.fill_buf()?;
    let mut reader: Box<dyn BufRead> = if head.starts_with(ZSTD) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(packed)?))
    } else if head.starts_with(GZIP) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed)))
    } else {
        Box::new(packed)
    };
    if reader.fill_buf()?.starts_with(UTF8_MARK) {
        reader.consume(UTF8_MARK.len());
    }
    Ok(reader)
}

struct Counted {
    file: File,
    bar: ProgressBar,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buf)?;
        self.bar.inc(bytes as u64);
        Ok(bytes)
    }
}
