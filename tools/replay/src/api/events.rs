//! The events of a session, as they are stored where the client can read that, else decompressed on the way.

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
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    coding: Coding,
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions/{session}/events", tag = "sessions", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
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
    let params = call.open.query(&["from", "to"])?;
    let wanted = Wanted {
        id: id.clone(),
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
) -> Answer<Response> {
    let coding = coding(&call.open.headers);
    let wanted = Wanted { id, from_ms: None, to_ms: None, coding };
    answer(call, site, wanted, Action::Export).await
}

async fn answer(
    call: &Call,
    site: &reelvault::SiteId,
    wanted: Wanted,
    action: Action,
) -> Answer<Response> {
    let id = wanted.id.clone();
    let coding = wanted.coding;
    let opened = call.at_site(site, move |_, site| {
        let info = site.session(&wanted.id)?;
        let tag = tag(&site, &info, &wanted);
        let replay = site.replay_packed(&wanted.id, wanted.from_ms)?;
        Ok((tag, replay.until(wanted.to_ms.unwrap_or(u64::MAX))))
    });
    let (tag, replay) = match opened.await {
        Ok(opened) => opened,
        Err(problem) => {
            // An attempt to see what is gone or damaged is a view that came to nothing.
            call.record(site, action, Some(&id), problem.kind()).await?;
            return Err(problem);
        }
    };
    let headers = [
        (header::ETAG, tag.clone()),
        (header::VARY, "accept-encoding".into()),
        (header::CONTENT_ENCODING, coding.name().into()),
    ];
    let with = |mut response: Response| {
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value)
                && !value.is_empty()
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    };
    if matches(&call.open.headers, &tag) {
        return Ok(with(StatusCode::NOT_MODIFIED.into_response()));
    }
    if call.open.method == Method::HEAD {
        return Ok(with(StatusCode::OK.into_response()));
    }
    let app = std::sync::Arc::clone(&call.open.app);
    let streamed = Streamed::replay(app, call.open.ctx.id.clone(), replay, coding);
    // The first piece is made before anything is said: damage there is an error, not a body that breaks off.
    let streamed = match streamed.begin().await {
        Ok(streamed) => streamed,
        Err(problem) => {
            call.record(site, action, Some(&id), problem.kind()).await?;
            return Err(problem);
        }
    };
    call.record(site, action, Some(&id), "ok").await?;
    Ok(with(Body::new(streamed).into_response()))
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

fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let mut tags = given.flat_map(|v| v.split(',')).map(str::trim);
    tags.any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
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
