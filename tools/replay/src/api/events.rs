//! The events of a session, as they are stored where the client can read that, else decompressed on the way.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelvault::{SessionId, SessionInfo, Site};
use sha2::{Digest, Sha256};

use crate::access::Role;
use crate::audit::Action;
use crate::call::Call;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::stream::{Coding, Streamed};

/// What a request wants of a session's events.
struct Wanted {
    id: SessionId,
    start_ms: Option<u64>,
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    coding: Coding,
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions/{session}/events", tag = "sessions", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
    ("from" = Option<u64>, Query, description = "Begins at the last snapshot at or before this time, Unix milliseconds"),
    ("to" = Option<u64>, Query, description = "Ends with the last stored chunk that begins at or before this time"),
    ("accept-encoding" = Option<String>, Header, description = "zstd is passed through as it is stored; gzip; else plain"),
    ("if-none-match" = Option<String>, Header, description = "ETags that are known"),
), responses(
    (status = 200, description = "One event a line", body = String, content_type = "application/x-ndjson"),
    (status = 304, description = "It is as it was"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn events(call: Call) -> Answer<Response> {
    let site = call.site(Role::Viewer)?;
    let id = call.session()?;
    let params = call.open.query(&["start", "from", "to"])?;
    let wanted = Wanted {
        id: id.clone(),
        start_ms: params.number("start")?,
        from_ms: params.number("from")?,
        to_ms: params.number("to")?,
        coding: coding(&call.open.headers),
    };
    let mut response = answer(&call, &site, wanted, Action::View).await?;
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// A whole session to take away.
pub(super) async fn whole(
    call: &Call,
    site: &reelvault::SiteId,
    id: SessionId,
    start_ms: Option<u64>,
) -> Answer<Response> {
    let coding = coding(&call.open.headers);
    let wanted = Wanted { id, start_ms, from_ms: None, to_ms: None, coding };
    answer(call, site, wanted, Action::Export).await
}

async fn answer(
    call: &Call,
    site: &reelvault::SiteId,
    wanted: Wanted,
    action: Action,
) -> Answer<Response> {
    let (id, coding) = (wanted.id.clone(), wanted.coding);
    let known = known_tags(&call.open.headers);
    let wants_body = call.open.method != Method::HEAD;
    let request = Arc::clone(&call.open.ctx.id);
    let begun = call.begun(site, action, &id);
    // Finding the session, its first piece and the record that somebody saw it are one trip to where it may block.
    let opened = call.at_site(site, move |app, site| {
        let info = super::find(&site, &wanted.id, wanted.start_ms)?;
        let tag = tag(&site, &info, &wanted);
        if known.iter().any(|known| *known == tag || known == "*") {
            return Ok((tag, Opened::Known));
        }
        let replay = site.replay_packed_listed_from(&info, wanted.from_ms)?;
        if !wants_body {
            return Ok((tag, Opened::Head));
        }
        let replay = replay.until(wanted.to_ms.unwrap_or(u64::MAX));
        // The first piece is made before anything is said: damage there is an error, not a body that breaks off.
        let streamed = Streamed::replay(Arc::clone(app), request, replay, coding).begin_here()?;
        let recorded = streamed.has_begun() && begun.record(app)?;
        Ok((tag, Opened::Body { streamed, recorded }))
    });
    let opened = match opened.await {
        Ok((tag, Opened::Body { streamed, recorded })) => {
            streamed.begin().await.map(|streamed| (tag, Opened::Body { streamed, recorded }))
        }
        opened => opened,
    };
    let (tag, opened) = match opened {
        Ok(opened) => opened,
        Err(problem) => {
            // An attempt to see what is gone or damaged is a view that came to nothing.
            call.record(site, action, Some(&id), problem.kind()).await?;
            return Err(problem);
        }
    };
    let mut response = match opened {
        Opened::Known => StatusCode::NOT_MODIFIED.into_response(),
        Opened::Head => StatusCode::OK.into_response(),
        Opened::Body { streamed, recorded } => {
            if !recorded {
                call.record(site, action, Some(&id), "ok").await?;
            }
            Body::new(streamed).into_response()
        }
    };
    let headers = [
        (header::ETAG, tag),
        (header::VARY, "accept-encoding".into()),
        (header::CONTENT_ENCODING, coding.name().into()),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value)
            && !value.is_empty()
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// What a request comes to.
enum Opened {
    /// The client has it.
    Known,
    /// Only the head was asked for.
    Head,
    Body {
        streamed: Streamed,
        /// Whether it stands in the audit log.
        recorded: bool,
    },
}

/// The tag of a session's events as they are now. It says nothing by itself, and is another for every site and session.
fn tag(site: &Site, info: &SessionInfo, wanted: &Wanted) -> String {
    let mut digest = Sha256::new();
    digest.update(site.handle().as_bytes());
    digest.update([info.id.as_str().len() as u8]);
    digest.update(info.id.as_str());
    for number in [
        info.start_ms,
        info.first_ms,
        info.last_ms,
        info.events,
        info.raw_bytes,
        info.chunks.into(),
        wanted.from_ms.unwrap_or(u64::MAX),
        wanted.to_ms.unwrap_or(u64::MAX),
    ] {
        digest.update(number.to_le_bytes());
    }
    digest.update(wanted.coding.name());
    format!("\"{}\"", crate::text::hex(&digest.finalize()[..16]))
}

/// The tags that the client has (RFC 9110, 13.1.2).
fn known_tags(headers: &HeaderMap) -> Vec<String> {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let tags = given.flat_map(|v| v.split(',')).map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned()).collect()
}

/// The best coding that the client can read (RFC 9110, 12.5.3): as stored, if it can read that.
pub(super) fn coding(headers: &HeaderMap) -> Coding {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let all: Vec<&str> = given.flat_map(|v| v.split(',')).map(str::trim).collect();
    let accepts = |name: &str| {
        all.iter().any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts.next().is_some_and(|n| n.eq_ignore_ascii_case(name));
            let refused = |p: &str| {
                let q = p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="));
                q.is_some_and(|q| q.parse::<f32>().map_or(true, |q| q <= 0.0))
            };
            named && !parts.any(refused)
        })
    };
    match () {
        () if accepts("zstd") => Coding::Zstd,
        () if accepts("gzip") => Coding::Gzip,
        () => Coding::Plain,
    }
}

/// Something that a session of one kind has and others do not.
pub(super) fn absent() -> Problem {
    Problem::not_found()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_chosen_where_it_can_be_read() {
        for (accepted, expected) in [
            ("zstd, gzip", Coding::Zstd),
            ("gzip, deflate, br, zstd", Coding::Zstd),
            ("gzip;q=1.0, zstd;q=0", Coding::Gzip),
            ("zstd;q=0.000,gzip;q=0", Coding::Plain),
            ("GZIP", Coding::Gzip),
            ("zstdx", Coding::Plain),
            ("", Coding::Plain),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            assert_eq!(coding(&headers), expected, "{accepted}");
        }
        assert_eq!(coding(&HeaderMap::new()), Coding::Plain);
    }
}
