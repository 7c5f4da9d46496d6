//! Renewing holds: a held session that has grown is copied once more before its own day passes, with all that can be read of it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ids::FileId;
use crate::keyring::Hold;
use crate::retention::record::Deed;
use crate::segment::writer::segment_name;
use crate::seqset::SeqSet;

use super::Site;
use super::find::{Looked, Started};
use super::hold::Original;
use super::state::Inner;

/// So many days after a held session's own a store that is opened then still waits for a medium, for the rest of that day: retention is due, and
/// what comes back at all has come back after a week-end.
const WAIT_DAYS_MAX: u32 = 3;

/// What came of renewing holds.
pub(super) struct Renewed {
    /// The last day that may pass.
    pub(super) through: u32,
    /// Held sessions that may lack something once it has.
    pub(super) doubtful: usize,
    /// Why no later one may.
    pub(super) kept_back: Option<Error>,
}

impl Inner {
    /// Copies held sessions once more that have grown since, before their day passes. One that cannot be copied keeps its day back, and none that
    /// is damaged; what the medium does not give back is waited for until the next day.
    pub(super) fn renew_holds(self: &Arc<Self>, today: u32) -> Renewed {
        let mut all = Renewed { through: today, doubtful: 0, kept_back: None };
        let mut doubtful = Vec::new();
        let mut holds = self.keyring.holds();
        holds.sort_by_key(|hold| hold.expiry_day());
        for hold in holds {
            if hold.expiry_day() > today {
                break;
            }
            if self.has_passed(hold.expiry_day()) {
                continue;
            }
            let is_awaited = self.is_awaited(&hold, today);
            let mut around = Around::new(&hold, is_awaited);
            // On a full disk it is the copy after which others' files can go.
            let whole = || self.with_space(|| self.renew(&hold, None));
            let renewed = match whole() {
                // A read may go wrong on its way, and after this day there is nothing to read any more.
                Err(e) if e.is_damage() => match whole() {
                    // It may be of a segment that has nothing of this session.
                    Err(e) if e.is_damage() => {
                        self.with_space(|| self.renew(&hold, Some(&mut around)))
                    }
                    again => again,
                },
                renewed => renewed,
            };
            let failed = match renewed {
                Err(e) if e.is_gone() => continue,
                renewed => renewed.err(),
            };
            let failed = around.awaited().or(failed);
            match failed.or_else(|| around.damage.into_iter().next()) {
                None => {}
                // It gets no better by waiting, or was waited for, and the copy that there is stays.
                Some(e) if e.is_damage() && !(is_awaited && is_unread(&e)) => {
                    doubtful.push(hold.expiry_day());
                }
                // From a day that is kept back on no other is tried: each attempt may spend a version of the provider's key.
                Some(e) => {
                    all.through = hold.expiry_day().saturating_sub(1);
                    all.kept_back = Some(e);
                    break;
                }
            }
        }
        // A day that is kept back for one may still be good for the others.
        all.doubtful = doubtful.into_iter().filter(|day| *day <= all.through).count();
        all
    }

    /// Whether what a medium does not give back of a held session is waited for, before its day passes: until the next day has begun, or
    /// the one after the store was opened.
    fn is_awaited(&self, hold: &Hold, today: u32) -> bool {
        let day = hold.expiry_day();
        today <= day.max(self.opened_day.min(day.saturating_add(WAIT_DAYS_MAX)))
    }

    /// Copies a held session once more, with all that the old copy has, if it has grown. With `around`, of what can be read: segments that cannot
    /// are passed over, and told, and of what both have the old copy is read.
    fn renew(self: &Arc<Self>, hold: &Hold, mut around: Option<&mut Around>) -> Result<()> {
        let Some(site) = self.keyring.site_by_handle(&hold.site) else { return Ok(()) };
        // What was appended and not waited for is held, too. If it can't be made durable it is gone, and the next sync tells.
        let _ = self.sync_shard(self.shard(hold.site));
        let site = Site { inner: Arc::clone(self), _open: None, site };
        let started = Started::At(hold.start_ms);
        let looked = match around.as_deref_mut() {
            Some(around) => site.find_around(hold.tag, started, &mut around.damage)?,
            None => site.find_tag(hold.tag, started)?,
        };
        let Looked::Found(parts) = looked else { return Ok(()) };
        let (info, seqs) = (site.describe(&parts)?, parts.seqs());
        // The old copy goes with its hold, and what it was made of may have lost something since: to damage, or to salvage.
        let copy = match (site.beside(hold, around.is_some()), around.as_deref_mut()) {
            (Err(e), Some(around)) if e.is_damage() => {
                around.damage.push(e);
                None
            }
            (copy, _) => copy?,
        };
        if let Some(e) = around.as_deref_mut().and_then(Around::awaited) {
            return Err(e);
        }
        if copy.as_ref().is_none_or(|copy| !copy.part.entry().seqs.includes(&seqs)) {
            let deed = Deed::Held { site: hold.site, session: hold.tag };
            if let Some(around) = around.as_deref_mut() {
                around.copied = copy.as_ref().map(|copy| copy.part.entry().seqs.clone());
            }
            let original = Original { id: &info.id, parts: &parts, copy, around };
            site.put_hold(original, &hold.reason, hold.created_ms, Some(hold), deed)?;
        }
        Ok(())
    }
}

/// Copying around what cannot be read.
pub(super) struct Around {
    /// What was passed over.
    pub(super) damage: Vec<Error>,
    /// Whether what a medium does not give back is waited for, and no copy made without it.
    is_awaited: bool,
    /// The file of the old copy, and how many chunks it has.
    file: String,
    chunks: u32,
    /// Which those are, where that can be read.
    copied: Option<SeqSet>,
}

impl Around {
    fn new(hold: &Hold, is_awaited: bool) -> Self {
        let file = segment_name(FileId(hold.id.0));
        Self { damage: Vec::new(), is_awaited, file, chunks: hold.chunks, copied: None }
    }

    /// What is waited for, if anything is.
    fn awaited(&mut self) -> Option<Error> {
        let at = self.damage.iter().position(is_unread).filter(|_| self.is_awaited)?;
        Some(self.damage.swap_remove(at))
    }

    /// What keeps a new copy with these chunks from the place of the old one, if anything does.
    pub(super) fn refusal(&mut self, written: &SeqSet) -> Option<Error> {
        if let Some(e) = self.awaited() {
            return Some(e);
        }
        let of_old = |e: &Error| e.damaged_file().as_ref() == Some(&self.file);
        let (lacks, gains) = match &self.copied {
            Some(copied) => (!written.includes(copied), !copied.includes(written)),
            None => (written.len() < self.chunks, true),
        };
        // What was held is not given up as long as the medium may give it back. Of the original it is lost with the day.
        let unread = self.damage.iter().position(|e| lacks && is_unread(e) && of_old(e));
        // One that gains nothing would be written again in each round.
        let gains = written.len() > 0 && (gains || self.damage.iter().any(of_old));
        let at = unread.or_else(|| (!gains && !self.damage.is_empty()).then_some(0))?;
        Some(self.damage.swap_remove(at))
    }
}

/// Whether an error is the medium's, which gave no answer.
fn is_unread(e: &Error) -> bool {
    matches!(e, Error::Io { .. })
}
