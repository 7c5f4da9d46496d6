//! The sessions of a site, and one of them.

use std::collections::BTreeMap;

use axum::response::Response;
use reelvault::{Cursor, Error, HoldInfo, Kind, Order, Query, SessionInfo, Site, VisitorId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Role;
use crate::call::{Call, QueryParams};
use crate::limits::{PAGE_DEFAULT, PAGE_MAX, SCANNED_MAX};
use crate::problem::{Answer, Problem, ProblemBody};

use super::{find, json, kind_name};

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    id: String,
    visitor: Option<String>,
    /// `replay` or `chat`.
    kind: &'static str,
    /// When its first chunk arrived, Unix milliseconds: its place in lists.
    start_ms: u64,
    /// Time of its first event.
    first_ms: u64,
    /// Time of its last event.
    last_ms: u64,
    duration_ms: u64,
    events: u64,
    chunks: u32,
    /// Bytes of its NDJSON.
    raw_bytes: u64,
    /// How many full snapshots it has.
    snapshots: u64,
    /// Chunks that are missing before the last one.
    missing_chunks: u64,
    /// The first day on which it is no longer kept, `YYYY-MM-DD`.
    expires_on: String,
    held: bool,
    attributes: BTreeMap<String, String>,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    sessions: Vec<SessionBody>,
    /// Where the next page begins. A page may be short of its limit, or empty, and have a next one.
    next: Option<String>,
    /// Places that are damaged; what they hide is missing from the page.
    unreadable: u64,
}

/// One session, in full.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionDetail {
    #[serde(flatten)]
    session: SessionBody,
    /// Times of its full snapshots, Unix milliseconds.
    snapshot_times: Vec<u64>,
    gaps: Vec<Gap>,
    hold: Option<HoldBody>,
    /// Whether it is still being recorded, or was until a moment ago.
    live: bool,
}

/// Chunks that are missing.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    /// The number of the chunk before them; `null` at the beginning.
    after_seq: Option<u64>,
    missing: u64,
}

/// Why a session is held.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldBody {
    since_ms: u64,
    reason: String,
}

impl From<&SessionInfo> for SessionBody {
    fn from(info: &SessionInfo) -> Self {
        Self {
            id: info.id.to_string(),
            visitor: info.visitor.as_ref().map(ToString::to_string),
            kind: kind_name(info.kind),
            start_ms: info.start_ms,
            first_ms: info.first_ms,
            last_ms: info.last_ms,
            duration_ms: info.last_ms.saturating_sub(info.first_ms),
            events: info.events,
            chunks: info.chunks,
            raw_bytes: info.raw_bytes,
            snapshots: info.snapshots.len() as u64,
            missing_chunks: info.gaps.iter().map(|gap| gap.end - gap.start).sum(),
            expires_on: crate::text::day(info.expiry_day),
            held: info.held,
            attributes: info.attributes.iter().cloned().collect(),
        }
    }
}

/// What a list is asked for.
struct Wanted {
    query: Query,
    limit: usize,
    min_duration_ms: u64,
    kind: Option<Kind>,
}

fn wanted(params: &QueryParams) -> Answer<Wanted> {
    let from_ms = params.number("from")?.unwrap_or(0);
    let to_ms = params.number("to")?.unwrap_or(u64::MAX);
    let order = match params.text("order").unwrap_or("newest") {
        "newest" => Order::NewestFirst,
        "oldest" => Order::OldestFirst,
        _ => return Err(Problem::bad("order is newest or oldest.")),
    };
    let kind = match params.text("kind") {
        None => None,
        Some("replay") => Some(Kind::Replay),
        Some("chat") => Some(Kind::Chat),
        Some(_) => return Err(Problem::bad("kind is replay or chat.")),
    };
    let limit = params.number("limit")?.unwrap_or(PAGE_DEFAULT as u64);
    if !(1..=PAGE_MAX as u64).contains(&limit) {
        return Err(Problem::bad("limit is 1 to 1000."));
    }
    let mut query = Query::new().between(from_ms, to_ms).order(order);
    if let Some(visitor) = params.text("visitor") {
        let visitor = VisitorId::new(visitor).map_err(|e| Problem::bad(e.to_string()))?;
        query = query.visitor(visitor);
    }
    if let Some(cursor) = params.text("cursor") {
        let cursor: Cursor = cursor.parse().map_err(Error::Input)?;
        query = query.after(cursor);
    }
    let min_duration_ms = params.number("min_duration_ms")?.unwrap_or(0);
    Ok(Wanted { query, limit: limit as usize, min_duration_ms, kind })
}

/// Takes pages of the engine until there are enough sessions of the kind and length that are wanted.
fn collect(site: &Site, wanted: &Wanted) -> Answer<Sessions> {
    let (mut found, mut scanned, mut unreadable) = (Vec::new(), 0, 0);
    let mut query = wanted.query.clone();
    loop {
        let page = site.sessions(&query.clone().limit(wanted.limit - found.len()))?;
        scanned += page.sessions.len();
        unreadable += page.damage.len() as u64;
        let long =
            |s: &&SessionInfo| s.last_ms.saturating_sub(s.first_ms) >= wanted.min_duration_ms;
        let of_kind = |s: &&SessionInfo| wanted.kind.is_none_or(|kind| kind == s.kind);
        found.extend(page.sessions.iter().filter(long).filter(of_kind).map(SessionBody::from));
        match page.next {
            Some(cursor) if found.len() < wanted.limit && scanned < SCANNED_MAX => {
                query = query.after(cursor);
            }
            next => {
                let next = next.map(|cursor| cursor.to_string());
                return Ok(Sessions { sessions: found, next, unreadable });
            }
        }
    }
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions", tag = "sessions", params(
    ("site" = String, Path, description = "The site"),
    ("from" = Option<u64>, Query, description = "Sessions that overlap the time from here, Unix milliseconds"),
    ("to" = Option<u64>, Query, description = "to before here"),
    ("visitor" = Option<String>, Query, description = "Of this visitor alone"),
    ("min_duration_ms" = Option<u64>, Query, description = "Of at least this length"),
    ("kind" = Option<String>, Query, description = "replay or chat"),
    ("order" = Option<String>, Query, description = "newest or oldest first"),
    ("limit" = Option<u64>, Query, description = "At most this many, 1 to 1000", minimum = 1, maximum = 1000),
    ("cursor" = Option<String>, Query, description = "Where an earlier page ended"),
), responses(
    (status = 200, body = Sessions),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(call: Call) -> Answer<Response> {
    let site = call.site(Role::Viewer)?;
    let params = call.open.query(&[
        "from",
        "to",
        "visitor",
        "min_duration_ms",
        "kind",
        "order",
        "limit",
        "cursor",
    ])?;
    let wanted = wanted(&params)?;
    let page = call.at_site(&site, move |_, site| collect(&site, &wanted)).await?;
    json(&page)
}

fn gaps(info: &SessionInfo) -> Vec<Gap> {
    let gap = |gap: &std::ops::Range<u64>| Gap {
        after_seq: gap.start.checked_sub(1),
        missing: gap.end - gap.start,
    };
    info.gaps.iter().map(gap).collect()
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions/{session}", tag = "sessions", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
), responses(
    (status = 200, body = SessionDetail),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn show(call: Call) -> Answer<Response> {
    let site = call.site(Role::Viewer)?;
    let id = call.session()?;
    let start_ms = call.open.query(&["start"])?.number("start")?;
    let detail = call.at_site(&site, move |_, site| {
        let info = find(&site, &id, start_ms)?;
        let ours = |hold: &HoldInfo| hold.session == info.id && hold.start_ms == info.start_ms;
        let hold = match info.held {
            true => site.holds()?.into_iter().find(ours),
            false => None,
        };
        Ok(SessionDetail {
            session: SessionBody::from(&info),
            gaps: gaps(&info),
            hold: hold.map(|h| HoldBody { since_ms: h.since_ms, reason: h.reason }),
            live: info.live,
            snapshot_times: info.snapshots,
        })
    });
    json(&detail.await?)
}
