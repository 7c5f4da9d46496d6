//! Journals become segments: the chunks of whole journals, grouped by retention class and day, ordered by site,
//! session and sequence number, compressed again in larger blocks.
//!
//! What is written here is synced and nothing names it yet; the store publishes it.

use std::path::Path;

use crate::env::Env;
use crate::error::{Damage, Error, Result};
use crate::format::manifest::SegmentEntry;
use crate::format::segment::ChunkEntry;
use crate::ids::{FileId, SiteHandle, day_of};
use crate::journal::read::{FrameKeys, OpenFrame, open_frame};
use crate::journal::table::Live;
use crate::keyring::{Kept, Keyring, SessionKeys, Site};
use crate::segment::writer::{Buffers, SegmentClass, SegmentWriter, SessionBlocks, segment_name};

/// What is to be archived.
pub(crate) struct Job<'a> {
    pub(crate) env: &'a Env,
    pub(crate) root: &'a Path,
    pub(crate) keyring: &'a Keyring,
    pub(crate) shard: u16,
    /// Sessions with those of their frames that are to be archived.
    pub(crate) sessions: Vec<(SiteHandle, Live)>,
    pub(crate) level: i32,
}

/// Memory of a frame that is kept for the next one: most fit.
const FRAME_KEPT_BYTES: usize = 1 << 20;

/// What the archiver needs much memory for. A store keeps one, for whoever archives first, in whatever thread: buffers of
/// this size that come and go in several threads would leave as much behind in each thread's heap. Who archives
/// another shard at the same time has one of its own meanwhile.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) segment: Buffers,
    frame: Vec<u8>,
}

/// A segment that was written and synced, and the places of its sessions.
pub(crate) struct Written {
    pub(crate) entry: SegmentEntry,
    /// The upper halves of the sessions' places, sorted.
    pub(crate) places: Box<[u32]>,
}

/// Writes the segments of a job, one for each retention class and day.
pub(crate) fn run(job: Job<'_>, work: &mut Workspace) -> Result<Vec<Written>> {
    let written = write_segments(job, work);
    work.segment.shrink();
    work.frame.clear();
    work.frame.shrink_to(FRAME_KEPT_BYTES);
    written
}

fn write_segments(mut job: Job<'_>, work: &mut Workspace) -> Result<Vec<Written>> {
    let class = |live: &Live| SegmentClass {
        shard: job.shard,
        retention_days: live.stamp.retention_days,
        day: day_of(live.stamp.start_ms),
    };
    let mut sessions = std::mem::take(&mut job.sessions);
    sessions.sort_by_key(|(site, live)| (class(live), *site, live.stamp.start_ms, live.stamp.tag));
    let mut written = Vec::new();
    for group in sessions.chunk_by(|a, b| class(&a.1) == class(&b.1)) {
        let Some((_, first)) = group.first() else { continue };
        match write_segment(&job, work, class(first), group) {
            Ok(segment) => written.extend(segment),
            // The sessions of a segment have one expiry day, and it passed before the segment was finished.
            Err(Error::Expired { .. }) => {}
            Err(e) => {
                // Nothing names these files yet; left behind, they would fill the disk at each attempt.
                written.iter().for_each(|w| remove(&job, w));
                return Err(e);
            }
        }
    }
    Ok(written)
}

fn remove(job: &Job<'_>, written: &Written) {
    let _ = job.env.disk.remove(&job.root.join(segment_name(written.entry.id)));
}

/// Writes one segment; `None` if all of the sessions were erased.
///
/// # Errors
/// [`Error::Expired`] if the day has passed until which they are kept.
fn write_segment(
    job: &Job<'_>,
    work: &mut Workspace,
    class: SegmentClass,
    sessions: &[(SiteHandle, Live)],
) -> Result<Option<Written>> {
    let kept = Kept::Until(class.expiry_day());
    let directory = job.keyring.directory_cipher(kept)?;
    let mut id = FileId([0; 16]);
    let random = job.env.random.fill(&mut id.0);
    random.map_err(|e| Error::io("drawing a file id", job.root, e))?;
    let suite = directory.suite();
    let buffers = &mut work.segment;
    let mut writer =
        SegmentWriter::create(job.env, job.root, id, class, suite, job.level, buffers)?;
    let mut places = Vec::new();
    for group in sessions.chunk_by(|a, b| a.0 == b.0) {
        let Some((handle, _)) = group.first() else { continue };
        // A site that is gone has been erased, and its sessions with it.
        let Some(site) = job.keyring.site_by_handle(handle) else { continue };
        let before = places.len();
        for (_, live) in group {
            let keys = match job.keyring.session_keys(&site, &live.stamp.tag, kept) {
                Err(Error::Erased) => continue,
                keys => keys?,
            };
            write_session(&mut writer, &mut work.frame, job.keyring, &site, live, &keys)
                .map_err(|e| e.at_site(site.id()))?;
            places.push((live.stamp.tag.place() >> 32) as u32);
        }
        if places.len() > before {
            writer.end_site(*handle, &*job.keyring.index_cipher(&site, kept)?)?;
        }
    }
    if places.is_empty() {
        return Ok(None);
    }
    places.sort_unstable();
    let entry = writer.finish(&directory)?;
    Ok(Some(Written { entry, places: places.into() }))
}

fn write_session(
    writer: &mut SegmentWriter<'_>,
    bytes: &mut Vec<u8>,
    keyring: &Keyring,
    site: &Site,
    live: &Live,
    keys: &SessionKeys,
) -> Result<()> {
    let stamp = &live.stamp;
    if !keys.commits_to(&stamp.commitment) {
        let first = live.frames.first();
        let (name, at) = first.map_or(("", 0), |f| (&*f.journal.name, u64::from(f.offset)));
        return Err(Error::corrupt(name, at, Damage::Commitment));
    }
    let mut blocks = SessionBlocks::new(stamp.entry());
    let frame_keys = FrameKeys {
        keyring,
        site,
        tag: stamp.tag,
        start_ms: stamp.start_ms,
        expiry_day: stamp.expiry_day(),
        session: keys.cipher(),
    };
    for frame in &live.frames {
        let open = open_frame(frame, frame_keys, bytes)?;
        let chunk = chunk_entry(&open);
        writer.chunk(site.handle(), &mut blocks, keys.cipher(), chunk, |raw| open.unpack(raw))?;
    }
    writer.end_session(site.handle(), blocks, keys.cipher())
}

fn chunk_entry(open: &OpenFrame<'_>) -> ChunkEntry {
    let envelope = &open.envelope;
    ChunkEntry {
        seq: envelope.seq,
        first_ms: envelope.first_ms,
        last_ms: envelope.last_ms,
        raw_bytes: envelope.raw_bytes,
        events: envelope.events,
        snapshots: envelope.snapshots.clone(),
    }
}
