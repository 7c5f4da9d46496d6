//! Where the frames of live sessions lie. No payload is held, only places, times and counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::chunk::{Kind, Snapshot};
use crate::format::frame::Envelope;
use crate::format::identity::SealedIdentity;
use crate::format::segment::SessionEntry;
use crate::ids::{SessionTag, SiteHandle, VisitorTag, expiry_day};
use crate::seqset::SeqSet;

use super::file::Journal;

/// One frame of a live session.
#[derive(Clone)]
pub(crate) struct FrameRef {
    pub(crate) journal: Arc<Journal>,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) seq: u32,
    pub(crate) first_ms: u64,
    pub(crate) duration_ms: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) events: u32,
}

impl FrameRef {
    /// Whether a crash could no longer take it back.
    pub(crate) fn is_durable(&self) -> bool {
        self.offset < self.journal.durable()
    }

    pub(crate) fn last_ms(&self) -> u64 {
        self.first_ms + u64::from(self.duration_ms)
    }
}

/// What is stamped on a session when it starts.
#[derive(Clone)]
pub(crate) struct Stamp {
    pub(crate) start_ms: u64,
    pub(crate) tag: SessionTag,
    pub(crate) visitor: VisitorTag,
    pub(crate) commitment: [u8; 32],
    pub(crate) attempt: u8,
    pub(crate) kind: Kind,
    pub(crate) retention_days: u32,
    pub(crate) identity: Option<SealedIdentity>,
}

impl Stamp {
    /// How a segment lists the session before any of its blocks.
    pub(crate) fn entry(&self) -> SessionEntry {
        SessionEntry {
            tag: self.tag,
            visitor: self.visitor,
            commitment: self.commitment,
            attempt: self.attempt,
            kind: self.kind,
            start_ms: self.start_ms,
            first_ms: u64::MAX,
            last_ms: 0,
            events: 0,
            seqs: SeqSet::default(),
            identity: self.identity.clone(),
            offset: 0,
            blocks: Box::default(),
        }
    }

    /// The first day on which the session is no longer kept.
    pub(crate) fn expiry_day(&self) -> u32 {
        expiry_day(self.start_ms, self.retention_days)
    }

    pub(crate) fn of(envelope: &Envelope) -> Self {
        Self {
            start_ms: envelope.start_ms,
            tag: envelope.tag,
            visitor: envelope.visitor,
            commitment: envelope.commitment,
            attempt: envelope.attempt,
            kind: envelope.kind,
            retention_days: envelope.retention_days,
            identity: envelope.identity.clone(),
        }
    }
}

/// A session with frames in journals.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) stamp: Stamp,
    /// Sorted by sequence number.
    pub(crate) frames: Vec<FrameRef>,
    pub(crate) snapshots: Vec<(u32, Snapshot)>,
    /// Sequence numbers that stand in segments already; `None` after recovery, until an append asks.
    pub(crate) archived: Option<SeqSet>,
}

impl Live {
    pub(crate) fn has(&self, seq: u32) -> Option<&FrameRef> {
        self.frames.binary_search_by_key(&seq, |f| f.seq).ok().map(|i| &self.frames[i])
    }

    /// Whether a frame in this journal carries the identity: the first one does.
    pub(crate) fn is_in(&self, journal: &Arc<Journal>) -> bool {
        self.frames.iter().rev().any(|f| Arc::ptr_eq(&f.journal, journal))
    }

    /// The frames that a crash could no longer take back.
    pub(crate) fn durable(&self) -> impl Iterator<Item = &FrameRef> {
        self.frames.iter().filter(|f| f.is_durable())
    }
}

/// The live sessions of one site.
#[derive(Default)]
struct SiteSessions {
    by_start: BTreeMap<(u64, SessionTag), Live>,
    /// The same sessions by their tags' places in the site's tree, then by start.
    by_place: BTreeSet<(u64, u64, SessionTag)>,
}

/// The live sessions of a shard.
#[derive(Default)]
pub(crate) struct Table {
    sites: HashMap<SiteHandle, SiteSessions>,
    frames: usize,
}

impl Table {
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sites.values().map(|s| s.by_start.len()).sum()
    }

    /// The sessions at this place of a site's tree, the newest first.
    pub(crate) fn at_place(&self, site: SiteHandle, place: u64) -> impl Iterator<Item = &Live> {
        let range = (place, 0, SessionTag([0; 16]))..=(place, u64::MAX, SessionTag([0xff; 16]));
        self.sites.get(&site).into_iter().flat_map(move |sessions| {
            let keys = sessions.by_place.range(range.clone()).rev();
            keys.filter_map(|(_, start, tag)| sessions.by_start.get(&(*start, *tag)))
        })
    }

    pub(crate) fn get(&self, site: SiteHandle, key: (u64, SessionTag)) -> Option<&Live> {
        self.sites.get(&site)?.by_start.get(&key)
    }

    /// The sessions of a site in order of their starts, within `range`.
    pub(crate) fn range(
        &self,
        site: SiteHandle,
        range: impl std::ops::RangeBounds<(u64, SessionTag)>,
    ) -> impl DoubleEndedIterator<Item = &Live> {
        self.sites
            .get(&site)
            .map(|s| s.by_start.range(range).map(|(_, live)| live))
            .into_iter()
            .flatten()
    }

    /// Every session with its site, in order of sites and starts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SiteHandle, &Live)> {
        self.sites.iter().flat_map(|(site, s)| s.by_start.values().map(|live| (*site, live)))
    }

    /// Adds a frame. A new session begins with the numbers that `archived` holds; false, and nothing
    /// is added, if its sequence number is there already.
    pub(crate) fn insert(
        &mut self,
        site: SiteHandle,
        envelope: &Envelope,
        frame: FrameRef,
        archived: impl FnOnce() -> Option<SeqSet>,
    ) -> bool {
        let key = (envelope.start_ms, envelope.tag);
        let sessions = self.sites.entry(site).or_default();
        sessions.by_place.insert((key.1.place(), key.0, key.1));
        let live = sessions.by_start.entry(key).or_insert_with(|| Live {
            stamp: Stamp::of(envelope),
            frames: Vec::new(),
            snapshots: Vec::new(),
            archived: archived(),
        });
        if live.stamp.identity.is_none() {
            live.stamp.identity.clone_from(&envelope.identity);
        }
        match live.frames.binary_search_by_key(&frame.seq, |f| f.seq) {
            Err(at) if !live.archived.as_ref().is_some_and(|a| a.contains(frame.seq)) => {
                live.snapshots.extend(envelope.snapshots.iter().map(|s| (frame.seq, *s)));
                live.frames.insert(at, frame);
                self.frames += 1;
                true
            }
            _ => {
                self.drop_if_empty(site, key);
                false
            }
        }
    }

    /// Copies of the sessions, each with those of its frames for which `wanted` holds; sessions without any are left out.
    pub(crate) fn select(&self, wanted: impl Fn(&FrameRef) -> bool) -> Vec<(SiteHandle, Live)> {
        let mut selected = Vec::new();
        for (site, live) in self.iter() {
            let frames: Vec<FrameRef> = live.frames.iter().filter(|f| wanted(f)).cloned().collect();
            if !frames.is_empty() {
                let stamp = live.stamp.clone();
                selected
                    .push((site, Live { stamp, frames, snapshots: Vec::new(), archived: None }));
            }
        }
        selected
    }

    /// Remembers which numbers of a session stand in segments.
    pub(crate) fn set_archived(
        &mut self,
        site: SiteHandle,
        key: (u64, SessionTag),
        archived: &SeqSet,
    ) {
        let live = self.sites.get_mut(&site).and_then(|s| s.by_start.get_mut(&key));
        if let Some(live) = live {
            live.archived.get_or_insert_default().extend(archived);
        }
    }

    /// Forgets the frames for which `gone` holds. If they are `archived`, their numbers are remembered while
    /// the session has other frames.
    pub(crate) fn remove_frames(&mut self, gone: impl Fn(&FrameRef) -> bool, archived: bool) {
        let mut emptied = Vec::new();
        for (site, sessions) in &mut self.sites {
            for (key, live) in &mut sessions.by_start {
                let Live { frames, snapshots, archived: seqs, .. } = live;
                let before = frames.len();
                for frame in frames.extract_if(.., |f| gone(f)) {
                    if archived && let Some(seqs) = seqs {
                        seqs.insert(frame.seq);
                    }
                }
                if frames.len() == before {
                    continue;
                }
                // Once for all that go: a session may have many frames, and each of them many snapshots.
                snapshots.retain(|(seq, _)| frames.binary_search_by_key(seq, |f| f.seq).is_ok());
                self.frames -= before - frames.len();
                if frames.is_empty() {
                    emptied.push((*site, *key));
                }
            }
        }
        emptied.into_iter().for_each(|(site, key)| self.drop_if_empty(site, key));
    }

    /// Forgets the sessions of a site for which `gone` holds.
    pub(crate) fn remove_sessions(&mut self, site: SiteHandle, gone: impl Fn(&Stamp) -> bool) {
        let Some(sessions) = self.sites.get_mut(&site) else { return };
        let Self { frames, .. } = self;
        sessions.by_start.retain(|key, live| {
            let goes = gone(&live.stamp);
            if goes {
                *frames -= live.frames.len();
                sessions.by_place.remove(&(key.1.place(), key.0, key.1));
            }
            !goes
        });
        if sessions.by_start.is_empty() {
            self.sites.remove(&site);
        }
    }

    /// Forgets the sessions that were to be kept until `today` or an earlier day.
    pub(crate) fn remove_expired(&mut self, today: u32) {
        let sites: Vec<SiteHandle> = self.sites.keys().copied().collect();
        for site in sites {
            self.remove_sessions(site, |stamp| stamp.expiry_day() <= today);
        }
    }

    fn drop_if_empty(&mut self, site: SiteHandle, key: (u64, SessionTag)) {
        let Some(sessions) = self.sites.get_mut(&site) else { return };
        if sessions.by_start.get(&key).is_some_and(|live| live.frames.is_empty()) {
            sessions.by_start.remove(&key);
            sessions.by_place.remove(&(key.1.place(), key.0, key.1));
        }
        if sessions.by_start.is_empty() {
            self.sites.remove(&site);
        }
    }
}
