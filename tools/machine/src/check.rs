//! Whether a store holds what it owes.

use std::path::Path;

use reelvault::backup::What;
use reelvault::{Depth, Error, Query, Session, SessionId, Site, SiteId, Store};

use crate::content::{Name, SITES};
use crate::home::Home;
use crate::ledger::{Known, Ledger, Owed, State};

/// A session that is gone is looked for in so many checks, and then in one of so many.
const LOOKED_FOR: u32 = 5;

/// What a check looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Sessions read from their first byte to their last.
    pub sessions: u64,
    /// Chunks compared.
    pub chunks: u64,
    /// Sessions that are gone, and were found to be.
    pub gone: u64,
    /// Chunks of a restored backup compared.
    pub restored_chunks: u64,
}

impl std::ops::AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.chunks += other.chunks;
        self.gone += other.gone;
        self.restored_chunks += other.restored_chunks;
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sessions, chunks, gone, restored_chunks } = self;
        write!(
            f,
            "checked {chunks} chunks of {sessions} sessions, {gone} gone, {restored_chunks} chunks restored"
        )
    }
}

fn told<T>(
    doing: &str,
    of: impl std::fmt::Display,
    result: reelvault::Result<T>,
) -> Result<T, String> {
    result.map_err(|e| format!("{doing} {of}: {e}"))
}

/// Compares an open store with what it owes. What was in doubt and is seen now is owed from here on: no later crash may take back what a
/// reader saw.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn store(store: &Store, ledger: &mut Ledger) -> Result<Checked, String> {
    let mut checked = Checked::default();
    settle_expiry(store, ledger)?;
    let base_ms = ledger.base_ms;
    for site_name in SITES {
        let names: Vec<Name> =
            ledger.sessions.keys().filter(|n| n.site == site_name).cloned().collect();
        let site = match told("opening the site", site_name, site(store, site_name)) {
            // A crash may have come before its first session.
            Err(_) if names.iter().all(|n| ledger.sessions[n].owed == 0) => continue,
            site => site?,
        };
        for name in names {
            let expired = ledger.has_expired(&name);
            let Some(known) = ledger.sessions.get_mut(&name) else { continue };
            if expired {
                known.state = State::Gone;
            }
            settle(&site, &name, known)?;
            if known.state == State::Gone {
                // In a long campaign they are many; the list shows them too, should they come back.
                known.looked_for += 1;
                if known.looked_for > LOOKED_FOR && !known.looked_for.is_multiple_of(LOOKED_FOR) {
                    continue;
                }
                is_gone(&site, &name, base_ms)?;
                checked.gone += 1;
            } else if let Some(chunks) = read(&site, &name, known.owed, known.begun, base_ms)? {
                known.owed = chunks;
                checked.sessions += 1;
                checked.chunks += chunks;
            }
        }
        lists_no_more(&site, ledger)?;
    }
    let verified = told("verifying", "the store", store.verify(Depth::Content, |_, _| ()))?;
    match verified.damage.first() {
        Some(damage) => Err(format!("{} damaged places: {damage}", verified.damage.len())),
        None => Ok(checked),
    }
}

fn site(store: &Store, name: &str) -> reelvault::Result<Site> {
    store.site(&SiteId::new(name)?)
}

fn id_of(name: &Name) -> Result<SessionId, String> {
    told("naming", name, SessionId::new(&name.id).map_err(Error::from))
}

/// Whether an error says that nobody can read it any more.
fn says_gone(e: &Error) -> bool {
    matches!(e, Error::Erased | Error::Expired { .. } | Error::UnknownSession)
}

/// A day that was passing when the process ended has passed for all of its sessions or for none.
fn settle_expiry(store: &Store, ledger: &mut Ledger) -> Result<(), String> {
    if ledger.expiring <= ledger.expired {
        return Ok(());
    }
    let (mut there, mut gone) = (None, None);
    for (name, known) in &ledger.sessions {
        let day = name.expiry_day(ledger.base_ms);
        let in_doubt = day > ledger.expired && day <= ledger.expiring;
        if !in_doubt || known.state != State::Kept || known.owed == 0 {
            continue;
        }
        let found = site(store, &name.site).and_then(|s| s.session(&SessionId::new(&name.id)?));
        match found {
            Ok(_) => there = Some(name),
            Err(e) if says_gone(&e) => gone = Some(name),
            Err(e) => return Err(format!("looking for {name}: {e}")),
        }
    }
    match (there, gone) {
        (Some(there), Some(gone)) => {
            return Err(format!("a day passed for {gone} and not for {there}"));
        }
        (None, Some(_)) => ledger.expired = ledger.expiring,
        // Where no session tells, the next retention does.
        (_, None) => ledger.expiring = ledger.expired,
    }
    Ok(())
}

/// A session whose erasure did not return is whole or gone, and stays what it is.
fn settle(site: &Site, name: &Name, known: &mut Known) -> Result<(), String> {
    if known.state == State::Erasing {
        known.state = match site.session(&id_of(name)?) {
            Ok(_) => State::Kept,
            Err(e) if says_gone(&e) => State::Gone,
            Err(e) => return Err(format!("looking for {name}: {e}")),
        };
    }
    Ok(())
}

/// Nothing of it can be read, and nothing more is taken of it.
fn is_gone(site: &Site, name: &Name, base_ms: u64) -> Result<(), String> {
    let id = id_of(name)?;
    match site.session(&id) {
        Err(e) if says_gone(&e) => {}
        Err(e) => return Err(format!("{name}, which is gone: {e}")),
        Ok(info) => return Err(format!("{name} is gone and has {} chunks", info.chunks)),
    }
    match site.replay(&id) {
        Err(e) if says_gone(&e) => {}
        Err(e) => return Err(format!("{name}, which is gone: {e}")),
        Ok(_) => return Err(format!("{name} is gone and is replayed")),
    }
    match site.session_at(&id, name.start_ms(base_ms)) {
        Err(e) if says_gone(&e) => Ok(()),
        Err(e) => Err(format!("{name}, which is gone: {e}")),
        Ok(_) => Err(format!("{name} is gone and is found by its day")),
    }
}

/// Reads a session and compares every byte; how many chunks it has. None if nothing was owed and nothing is there.
///
/// # Errors
/// If there are fewer than `owed`, more than `begun`, one in between is missing, or a byte is another.
pub fn read(
    site: &Site,
    name: &Name,
    owed: u64,
    begun: u64,
    base_ms: u64,
) -> Result<Option<u64>, String> {
    let mut replay = match site.replay(&id_of(name)?) {
        Err(Error::UnknownSession) if owed == 0 => return Ok(None),
        replay => told("replaying", name, replay)?,
    };
    let mut chunks = 0;
    while let Some(chunk) = told("replaying", name, replay.next_chunk())? {
        if chunk.seq != chunks {
            return Err(format!("{name}: chunk {} where {chunks} should be", chunk.seq));
        }
        if chunk.events != &*name.chunk(chunks, base_ms).events {
            return Err(format!("{name}: chunk {chunks} is not what was written"));
        }
        chunks += 1;
    }
    if chunks < owed || chunks > begun {
        return Err(format!("{name}: {chunks} chunks; {owed} were owed and {begun} begun"));
    }
    Ok(Some(chunks))
}

/// Every session in the list is one that is owed, with the numbers that reading it gave.
fn lists_no_more(site: &Site, ledger: &Ledger) -> Result<(), String> {
    let mut query = Query::new().limit(500);
    let mut listed = 0;
    loop {
        let page = told("listing", site.id(), site.sessions(&query))?;
        if let Some(damage) = page.damage.first() {
            return Err(format!("listing {}: {damage}", site.id()));
        }
        for info in page.sessions {
            let name = Name::of(site.id().as_str(), info.id.as_str());
            let known = ledger.sessions.get(&name);
            let known = known.ok_or_else(|| format!("{name} is listed and was never begun"))?;
            let right = known.state == State::Kept
                && u64::from(info.chunks) == known.owed
                && info.gaps.is_empty()
                && info.expiry_day == name.expiry_day(ledger.base_ms);
            if !right {
                return Err(format!("{name} is listed as {info:?}, {known:?} is known"));
            }
            listed += 1;
        }
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    let there = |(name, known): &(&Name, &Known)| {
        name.site == site.id().as_str() && known.state == State::Kept && known.owed > 0
    };
    let owed = ledger.sessions.iter().filter(there).count();
    match listed == owed {
        true => Ok(()),
        false => Err(format!("{}: {listed} sessions are listed, {owed} are owed", site.id())),
    }
}

/// What is gone takes no more: for a store that is open for writing.
///
/// # Errors
/// If a chunk is taken, or refused for another reason.
pub fn refuses_what_is_gone(store: &Store, ledger: &Ledger) -> Result<(), String> {
    let erased = |known: &Known| known.state == State::Gone;
    let last = ledger.sessions.iter().rev().filter(|(_, known)| erased(known)).take(20);
    for (name, _) in last.filter(|(name, _)| !ledger.has_expired(name)) {
        let site = told("opening the site", name, site(store, &name.site))?;
        let session: Session = told("naming", name, name.session().map_err(Error::from))?;
        match site.append(&session, &name.chunk(0, ledger.base_ms)) {
            Err(Error::Erased) => {}
            Err(e) => return Err(format!("appending to {name}, which is erased: {e}")),
            Ok(_) => return Err(format!("{name} is erased and takes a chunk")),
        }
    }
    Ok(())
}

/// Restores the last backup that was done into a new folder, and compares it with what was owed when it was begun.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn backup(home: &Home, ledger: &Ledger, into: &Path) -> Result<Checked, String> {
    let Some((number, owed)) = &ledger.backup else { return Ok(Checked::default()) };
    let repository = told("opening", "the repository", home.repository())?;
    let restored = repository.restore(*number, into, &What::All, &|_| true);
    if let Some(damage) = told("restoring snapshot", number, restored)?.damage.first() {
        return Err(format!("restoring snapshot {number}: {damage}"));
    }
    let options = told("opening", "the keys", home.options_at(into.to_owned()))?;
    let store = told("opening", "what was restored", Store::open_read_only(options))?;
    let restored_chunks = restored_holds(&store, ledger, owed)?;
    let verified = told("verifying", "what was restored", store.verify(Depth::Content, |_, _| ()))?;
    match verified.damage.first() {
        Some(damage) => Err(format!("what was restored is damaged: {damage}")),
        None => Ok(Checked { restored_chunks, ..Checked::default() }),
    }
}

fn restored_holds(store: &Store, ledger: &Ledger, owed: &Owed) -> Result<u64, String> {
    let mut chunks = 0;
    for (name, owed) in owed {
        let Some(known) = ledger.sessions.get(name).filter(|_| *owed > 0) else { continue };
        let site = told("opening the site", name, site(store, &name.site))?;
        if known.state == State::Gone {
            // Erased since, or its days have passed: out of every backup at once.
            is_gone(&site, name, ledger.base_ms)?;
        } else {
            let read = read(&site, name, *owed, known.begun, ledger.base_ms);
            chunks += read.map_err(|e| format!("restored: {e}"))?.unwrap_or_default();
        }
    }
    Ok(chunks)
}
