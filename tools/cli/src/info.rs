//! A session as commands print it, and finding one by a part of its id.

use std::collections::BTreeMap;

use reelvault::{Cursor, Error, Kind, Query, SessionId, SessionInfo, Site};
use serde::Serialize;

use crate::exit::{Exit, Failure, Run};
use crate::when::When;
use crate::{human, interrupt, output};

/// Sessions looked at in one go.
pub(crate) const PAGE: usize = 1000;

/// A session in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SessionBody<'a> {
    id: &'a str,
    visitor: Option<&'a str>,
    kind: &'static str,
    attributes: BTreeMap<&'a str, &'a str>,
    start_ms: u64,
    first_ms: u64,
    last_ms: u64,
    duration_ms: u64,
    retention_days: u32,
    expires: String,
    chunks: u32,
    events: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    /// Missing sequence numbers: from, and before.
    gaps: Vec<[u64; 2]>,
    snapshots: usize,
    live: bool,
    held: bool,
}

impl<'a> From<&'a SessionInfo> for SessionBody<'a> {
    fn from(info: &'a SessionInfo) -> Self {
        Self {
            id: info.id.as_str(),
            visitor: info.visitor.as_ref().map(|v| v.as_str()),
            kind: output::kind_name(info.kind),
            attributes: info.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            start_ms: info.start_ms,
            first_ms: info.first_ms,
            last_ms: info.last_ms,
            duration_ms: duration_ms(info),
            retention_days: info.retention_days,
            expires: human::day(info.expiry_day),
            chunks: info.chunks,
            events: info.events,
            raw_bytes: info.raw_bytes,
            stored_bytes: info.stored_bytes,
            gaps: info.gaps.iter().map(|g| [g.start, g.end]).collect(),
            snapshots: info.snapshots.len(),
            live: info.live,
            held: info.held,
        }
    }
}

/// How long a session lasted.
pub(crate) fn duration_ms(info: &SessionInfo) -> u64 {
    info.last_ms.saturating_sub(info.first_ms)
}

/// How many chunks are missing.
pub(crate) fn missing(info: &SessionInfo) -> u64 {
    info.gaps.iter().map(|g| g.end - g.start).sum()
}

/// All sessions that a query finds, page after page, to `each`. Returns the damage met.
pub(crate) fn for_each(
    site: &Site,
    query: &Query,
    mut each: impl FnMut(SessionInfo) -> Run<Next>,
) -> Run<Vec<Error>> {
    let mut damage = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        interrupt::check()?;
        let query = match after.take() {
            Some(cursor) => query.clone().after(cursor),
            None => query.clone(),
        };
        let page = site.sessions(&query)?;
        damage.extend(page.damage);
        for info in page.sessions {
            if each(info)? == Next::Stop {
                return Ok(damage);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(damage),
        }
    }
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Stop,
}

/// Finds a session by its id and when it started, if that is told: then the id must be whole, and what has expired is told so.
pub(crate) fn find_at(site: &Site, id: &str, start: Option<When>) -> Run<SessionInfo> {
    match start {
        Some(start) => Ok(site.session_at(&SessionId::new(id)?, start.point()?)?),
        None => find(site, id),
    }
}

/// Finds a session by its id, or by the beginning of it. A chat begins like the replay it belongs to, so the
/// beginning of both means the replay.
pub(crate) fn find(site: &Site, id: &str) -> Run<SessionInfo> {
    let id = SessionId::new(id)?;
    match site.session(&id) {
        Err(Error::UnknownSession) => {}
        found => return Ok(found?),
    }
    // By kind: the first one found, and whether there are more.
    let (mut replay, mut chat) = ((None, false), (None, false));
    let query = Query::new().limit(PAGE);
    let damage = for_each(site, &query, |info| {
        if !info.id.as_str().starts_with(id.as_str()) {
            return Ok(Next::Go);
        }
        let found = if info.kind == Kind::Replay { &mut replay } else { &mut chat };
        found.1 = found.0.is_some();
        found.0.get_or_insert(info);
        Ok(if replay.1 { Next::Stop } else { Next::Go })
    })?;
    match if replay.0.is_some() { replay } else { chat } {
        (Some(_), true) => Err(Failure::new(
            Exit::Failed,
            "several sessions begin with what was given",
            "Give more of the id. See them with: reelvault sessions SITE --all",
        )),
        (Some(info), false) => Ok(info),
        // It may be hidden by damage, and then that is what to tell.
        (None, _) => Err(damage.into_iter().next().unwrap_or(Error::UnknownSession).into()),
    }
}
