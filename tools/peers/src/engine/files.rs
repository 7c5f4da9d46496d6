//! One file for each session, as a team would write it by hand: frames behind one another, each synced before it is acknowledged.
//!
//! `<day>/<site>/<start>-<session>`. A frame is the length and the number of a chunk and its value, as the other peers keep it. The session's row is
//! not written again with each chunk: the name says when it started, and the last frame how it is.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::rows::{Chunk, Rows, chunk_key};
use super::{Engine, Of, Setup};
use crate::workload::{Named, Row};
use crate::{PeerError, Result};

/// Length of the chunk's value, its number, and length of the session's value.
const FRAME_HEADER_BYTES: usize = 12;
/// Sessions whose files are kept open; whoever writes one has it anyway.
const OPEN_MAX: usize = 512;

pub(super) struct Files {
    dir: PathBuf,
    rows: Rows,
    open: Mutex<HashMap<u64, Arc<Mutex<Appending>>>>,
}

struct Appending {
    file: File,
    end: u64,
}

/// Where a frame's chunk stands.
struct Frame {
    seq: u32,
    at: u64,
    bytes: usize,
    session_bytes: usize,
}

pub(super) fn open(setup: &Setup) -> Result<Files> {
    let rows = Rows::new(setup.sealer()?);
    Ok(Files { dir: setup.dir.clone(), rows, open: Mutex::default() })
}

impl Files {
    fn folder(&self, day: u32, site: u32) -> PathBuf {
        self.dir.join(day.to_string()).join(site.to_string())
    }

    fn path(&self, of: Of) -> PathBuf {
        self.folder(of.day(), of.site).join(format!("{:016}-{:016x}", of.start_ms, of.session))
    }

    fn appending(&self, of: Of) -> Result<Arc<Mutex<Appending>>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(&of.session) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= OPEN_MAX {
            // Those that nobody writes just now.
            open.retain(|_, file| Arc::strong_count(file) > 1);
        }
        let path = self.path(of);
        let failed = |e| PeerError::Io(path.clone(), e);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(_) => self.create(&path).map_err(failed)?,
        };
        let end = file.metadata().map_err(failed)?.len();
        let file = Arc::new(Mutex::new(Appending { file, end }));
        open.insert(of.session, Arc::clone(&file));
        Ok(file)
    }

    /// Makes a file whose name is durable.
    fn create(&self, path: &Path) -> std::io::Result<File> {
        let folder = path.parent().unwrap_or(&self.dir);
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            for above in folder.ancestors().skip(1).take(2) {
                File::open(above)?.sync_all()?;
            }
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    }

    /// The frames of a session, in the order in which they arrived: the headers are read, from one to the next.
    fn frames(file: &File) -> std::io::Result<Vec<Frame>> {
        let len = file.metadata()?.len();
        let (mut frames, mut at) = (Vec::new(), 0);
        while at + FRAME_HEADER_BYTES as u64 <= len {
            let mut header = [0; FRAME_HEADER_BYTES];
            file.read_exact_at(&mut header, at)?;
            let [a, b, c, d, e, f, g, h, i, j, k, l] = header;
            let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
            let session_bytes = u32::from_le_bytes([i, j, k, l]) as usize;
            at += FRAME_HEADER_BYTES as u64;
            let seq = u32::from_le_bytes([e, f, g, h]);
            frames.push(Frame { seq, at, bytes, session_bytes });
            at += (bytes + session_bytes) as u64;
        }
        Ok(frames)
    }

    fn read(&self, of: Of, file: &File, frame: &Frame) -> Result<Chunk> {
        let mut value = vec![0; frame.bytes];
        let read = file.read_exact_at(&mut value, frame.at);
        read.map_err(|e| PeerError::Io(self.path(of), e))?;
        self.rows.chunk(of, &chunk_key(of, frame.seq), value)
    }

    /// The file of a session, and its chunks by number: one that came twice counts once.
    fn chunks(&self, of: Of) -> Result<(File, Vec<Frame>)> {
        let path = self.path(of);
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => PeerError::NotThere,
            _ => PeerError::Io(path.clone(), e),
        };
        let file = File::open(&path).map_err(failed)?;
        let mut frames = Self::frames(&file).map_err(failed)?;
        frames.sort_by_key(|frame| frame.seq);
        frames.dedup_by_key(|frame| frame.seq);
        Ok((file, frames))
    }
}

impl Engine for Files {
    fn append(&self, row: &Row<'_>) -> Result<u64> {
        let put = self.rows.put(row)?;
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + put.chunk_value.len());
        frame.extend_from_slice(&(put.chunk_value.len() as u32).to_le_bytes());
        frame.extend_from_slice(&row.seq.to_le_bytes());
        frame.extend_from_slice(&(put.session_value.len() as u32).to_le_bytes());
        frame.extend_from_slice(&put.chunk_value);
        frame.extend_from_slice(&put.session_value);
        let appending = self.appending(row.of)?;
        let mut appending = appending.lock();
        let end = appending.end;
        let written = appending.file.write_all_at(&frame, end);
        written
            .and_then(|()| appending.file.sync_data())
            .map_err(|e| PeerError::Io(self.path(row.of), e))?;
        appending.end += frame.len() as u64;
        Ok(frame.len() as u64)
    }

    fn replay(&self, of: Of, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let (file, frames) = self.chunks(of)?;
        for frame in &frames {
            self.read(of, &file, frame)?.play(to)?;
        }
        Ok(())
    }

    fn seek(&self, of: Of, ms: u64, until_ms: u64, to: &mut dyn FnMut(&[u8])) -> Result<()> {
        let (file, frames) = self.chunks(of)?;
        let mut get = |key: &[u8]| {
            let seq = super::rows::seq_of(key).unwrap_or_default();
            let at = frames.binary_search_by_key(&seq, |frame| frame.seq).ok();
            at.and_then(|at| frames.get(at))
                .map(|frame| {
                    let mut value = vec![0; frame.bytes];
                    let read = file.read_exact_at(&mut value, frame.at);
                    read.map(|()| value).map_err(|e| PeerError::Io(self.path(of), e))
                })
                .transpose()
        };
        let chunks = frames.last().map_or(0, |frame| frame.seq + 1);
        self.rows.seek_among(of, (ms, until_ms), chunks, &mut get, to)
    }

    fn list(&self, site: u32, day: u32, limit: usize) -> Result<Vec<Named>> {
        let folder = self.folder(day, site);
        let failed = |e| PeerError::Io(folder.clone(), e);
        let mut names: Vec<String> = match fs::read_dir(&folder) {
            Err(_) => return Ok(Vec::new()),
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<_>>()
                .map_err(failed)?,
        };
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut named = Vec::new();
        for name in names.iter().take(limit) {
            let file = File::open(folder.join(name)).map_err(failed)?;
            let frames = Self::frames(&file).map_err(failed)?;
            let Some(last) = frames.last() else { continue };
            let mut value = vec![0; last.session_bytes];
            file.read_exact_at(&mut value, last.at + last.bytes as u64).map_err(failed)?;
            let of = parse(name, site).ok_or(PeerError::Harness("a file's name"))?;
            named.push(self.rows.named(site, &super::rows::session_key(of), value)?);
        }
        Ok(named)
    }

    fn drop_day(&self, day: u32) -> Result<()> {
        self.open.lock().clear();
        let folder = self.dir.join(day.to_string());
        let removed = fs::remove_dir_all(&folder).and_then(|()| File::open(&self.dir)?.sync_all());
        removed.map_err(|e| PeerError::Io(folder, e))
    }

    fn erase(&self, of: Of) -> Result<()> {
        self.open.lock().remove(&of.session);
        let path = self.path(of);
        let folder = self.folder(of.day(), of.site);
        let removed = fs::remove_file(&path).and_then(|()| File::open(folder)?.sync_all());
        removed.map_err(|e| PeerError::Io(path, e))
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The session of a file's name.
fn parse(name: &str, site: u32) -> Option<Of> {
    let (start, session) = name.split_once('-')?;
    let session = u64::from_str_radix(session, 16).ok()?;
    Some(Of { site, session, start_ms: start.parse().ok()? })
}
