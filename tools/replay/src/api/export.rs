//! Taking recordings away: one session as NDJSON, or a window of a site as a tar archive with a file for each session.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use reelvault::limits::DAY_MS;
use reelvault::{Cursor, Error, Order, Query, SessionInfo, Site};

use crate::access::Role;
use crate::app::App;
use crate::audit::Action;
use crate::call::Call;
use crate::limits::{PIECE_BYTES, READ_BYTES_MAX};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::stream::{Coding, EventPieces, PieceBody, Pieces};
use crate::text::escape;

use super::events;

/// Sessions that are looked up at a time.
const PAGE: usize = 100;
const TAR_BLOCK: usize = 512;

fn attachment(response: &mut Response, name: &str, kind: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // The name is escaped, so it cannot end its quotes.
    let value = format!("attachment; filename=\"{name}\"");
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions/{session}/export", tag = "export", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
), responses(
    (status = 200, description = "One event a line", body = String, content_type = "application/x-ndjson"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn session(call: Call) -> Answer<Response> {
    let site = call.site(Role::Exporter)?;
    let id = call.session()?;
    let start_ms = call.open.query(&["start"])?.number("start")?;
    let name = format!("{}.ndjson", escape(id.as_str()));
    let mut response = events::whole(&call, &site, id, start_ms).await?;
    attachment(&mut response, &name, "application/x-ndjson");
    Ok(response)
}

#[utoipa::path(get, path = "/v1/sites/{site}/export", tag = "export", params(
    ("site" = String, Path, description = "The site"),
    ("from" = Option<u64>, Query, description = "Sessions that overlap the time from here, Unix milliseconds"),
    ("to" = Option<u64>, Query, description = "to before here"),
), responses(
    (status = 200, description = "A tar archive with an NDJSON file for each session; where an id was used again, the later file is ID@DAY.ndjson", body = String, content_type = "application/x-tar"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn site(call: Call) -> Answer<Response> {
    let id = call.site(Role::Exporter)?;
    let params = call.open.query(&["from", "to"])?;
    let (from, to) = (params.number("from")?.unwrap_or(0), params.number("to")?);
    let query = Query::new().between(from, to.unwrap_or(u64::MAX)).order(Order::OldestFirst);
    let opened = call.at_site(&id, move |_, site| Ok(Window::new(site, query))).await?;
    let body = if call.open.method == axum::http::Method::HEAD {
        Body::empty()
    } else {
        let (app, request) = (Arc::clone(&call.open.app), Arc::clone(&call.open.ctx.id));
        let body = PieceBody::new(app, request, opened).begin().await?;
        call.record(&id, Action::Export, None, "ok").await?;
        Body::new(body)
    };
    let mut response = body.into_response();
    attachment(&mut response, &format!("{}.tar", id.as_str()), "application/x-tar");
    Ok(response)
}

/// A window of a site on its way.
struct Window {
    site: Site,
    query: Query,
    after: Option<Cursor>,
    waiting: VecDeque<SessionInfo>,
    /// Whether all pages were taken.
    all: bool,
    /// Digests of the names that were given.
    names: HashSet<u64>,
    file: Option<(EventPieces, u64)>,
    padding: usize,
}

impl Window {
    fn new(site: Site, query: Query) -> Self {
        let query = query.limit(PAGE);
        let waiting = VecDeque::new();
        let names = HashSet::new();
        Self { site, query, after: None, waiting, all: false, names, file: None, padding: 0 }
    }

    /// The name of a session's file. An id may be used again two days later: then the day stands behind it.
    fn name(&mut self, info: &SessionInfo) -> String {
        // Names of millions of sessions would take their room; that two digests are equal by chance costs a longer name.
        let mut digest = DefaultHasher::new();
        info.id.as_str().hash(&mut digest);
        let name = escape(info.id.as_str());
        if self.names.insert(digest.finish()) {
            return name;
        }
        let day = u32::try_from(info.start_ms / DAY_MS).unwrap_or(u32::MAX);
        format!("{name}@{}", crate::text::day(day))
    }

    /// Begins the file of the next session; whether there was one.
    fn begin(&mut self, app: &App, out: &mut Vec<u8>) -> Answer<bool> {
        while self.waiting.is_empty() && !self.all {
            let query = match self.after.take() {
                Some(cursor) => self.query.clone().after(cursor),
                None => self.query.clone(),
            };
            let page = self.site.sessions(&query)?;
            if !page.damage.is_empty() {
                let told = format!("{} places of an index are damaged.\n", page.damage.len());
                note(out, "DAMAGED-INDEX.txt", &told)?;
            }
            self.waiting.extend(page.sessions);
            self.after = page.next;
            self.all = self.after.is_none();
        }
        let Some(info) = self.waiting.pop_front() else { return Ok(false) };
        let name = self.name(&info);
        // A file's length stands before it, so what is in it must be known to be whole.
        match self.measure(&info) {
            Ok(bytes) => {
                head(out, &format!("{name}.ndjson"), bytes, info.start_ms)?;
                self.padding = (TAR_BLOCK - bytes as usize % TAR_BLOCK) % TAR_BLOCK;
                let replay = self.site.replay_packed_listed(&info)?;
                self.file = Some((EventPieces::new(replay, Coding::Plain), bytes));
            }
            Err(e) if e.damaged_file().is_some() => {
                app.met(&e.into());
                note(out, &format!("{name}.DAMAGED.txt"), "Its stored bytes are damaged.\n")?;
            }
            // Erased, or expired, since it was listed.
            Err(Error::Erased | Error::Expired { .. } | Error::UnknownSession) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(true)
    }

    fn measure(&self, info: &SessionInfo) -> Result<u64, Error> {
        let mut replay = self.site.replay_packed_listed(info)?.read_bytes_max(READ_BYTES_MAX);
        let (mut scratch, mut bytes) = (Vec::new(), 0);
        while let Some(played) = replay.next_frame(&mut scratch)? {
            scratch.clear();
            bytes += played.raw_bytes;
        }
        Ok(bytes)
    }
}

fn head(out: &mut Vec<u8>, name: &str, bytes: u64, at_ms: u64) -> Answer<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(at_ms / 1000);
    // The content is written later, piece by piece; a name that is too long for the head stands before it.
    let mut builder = tar::Builder::new(&mut *out);
    let written = builder.append_data(&mut header, name, std::io::empty());
    // Dropped, a builder would end the archive.
    std::mem::forget(builder);
    written.map_err(|_| Problem::internal())
}

fn note(out: &mut Vec<u8>, name: &str, text: &str) -> Answer<()> {
    head(out, name, text.len() as u64, 0)?;
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(TAR_BLOCK), 0);
    Ok(())
}

impl Pieces for Window {
    fn next_bytes(&self) -> usize {
        let file = self.file.as_ref().map_or(0, |(pieces, _)| pieces.next_bytes());
        file.max(READ_BYTES_MAX) + PIECE_BYTES
    }

    fn unpacks(&self) -> bool {
        true
    }

    fn keeps_memory(&self) -> bool {
        self.file.as_ref().is_some_and(|(pieces, _)| pieces.keeps_memory())
    }

    fn next(&mut self, app: &App, out: &mut Vec<u8>) -> Result<bool, Problem> {
        let Some((pieces, left)) = &mut self.file else {
            if self.begin(app, out)? {
                return Ok(true);
            }
            // Two empty blocks end an archive.
            out.resize(out.len() + 2 * TAR_BLOCK, 0);
            return Ok(false);
        };
        let before = out.len();
        let more = pieces.plain(app, out)?;
        let made = (out.len() - before) as u64;
        // It was measured a moment ago: another length means that it changed under us.
        *left = left.checked_sub(made).ok_or_else(Problem::internal)?;
        if !more {
            if *left != 0 {
                return Err(Problem::internal());
            }
            out.resize(out.len() + self.padding, 0);
            self.file = None;
        }
        Ok(true)
    }
}
