//! What changes the store: erase, hold, release. The store is opened for writing for the moment that it takes, which only
//! works where no other process writes to it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use reelvault::retention::Certificate;
use reelvault::{Error, Held, InputError, SessionId, Site, SiteId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::access::Role;
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::call::Call;
use crate::problem::{Answer, Problem, ProblemBody};

use super::{body, find};

/// Why a session is to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldRequest {
    /// 1 to 1,024 bytes.
    reason: String,
}

/// How to erase.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EraseRequest {
    /// Whether it is erased even if it is held.
    held: bool,
}

/// Opens the store for writing, does something, and lets what is served learn of it. It blocks.
fn change(
    app: &App,
    at: &SiteId,
    session: &SessionId,
    start_ms: Option<u64>,
    work: impl FnOnce(&Site, &SessionId) -> Answer<Certificate>,
) -> Answer<Certificate> {
    // Who asks for a session that is not there is told so, whether or not it could be written.
    find(&app.source.store().site(at)?, session, start_ms)?;
    // One deed at a time: this process must not find the store locked by itself.
    let _turn = app.deeds.lock().map_err(|_| Problem::internal())?;
    let store = app.source.writable()?.ok_or(Error::ReadOnly)?;
    let outcome = store.site(at).map_err(Problem::from).and_then(|site| work(&site, session));
    if let Err(e) = store.close() {
        // What was done is done, and the next who opens the store recovers it.
        tracing::warn!(error = %e, "the store could not be closed after a deed");
    }
    if let Err(e) = app.source.refresh() {
        tracing::warn!(error = %e, "the store could not be taken in after a deed");
    }
    outcome
}

/// Does something in the store opened for writing, and records it: that it is about to be done, and how it ended.
async fn deed(
    call: &Call,
    site: &SiteId,
    (id, start_ms): (&SessionId, Option<u64>),
    action: Action,
    work: impl FnOnce(&Site, &SessionId) -> Answer<Certificate> + Send + 'static,
) -> Answer<Response> {
    // What cannot be recorded is not done.
    call.record(site, action, Some(id), "begun").await?;
    let (app, at, session) = (Arc::clone(&call.open.app), site.clone(), id.clone());
    let entry = call.entry(site, action, Some(id.to_string()), "ok");
    // A task of its own: what was begun is ended and recorded also when its client goes away.
    let done = tokio::spawn(async move {
        let working = Arc::clone(&app);
        let done = app.blocking.engine(move || change(&working, &at, &session, start_ms, work));
        let outcome = done.await.and_then(|outcome| outcome);
        let told = outcome.as_ref().map_or_else(Problem::kind, |_| "ok");
        if !app.audit.record(Entry { outcome: told, ..entry }).await {
            tracing::error!("how a deed ended could not be recorded");
        }
        outcome
    });
    let outcome = done.await.map_err(|_| Problem::internal())?;
    let mut response = outcome?.to_json().into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

#[utoipa::path(post, path = "/v1/sites/{site}/sessions/{session}/erase", tag = "admin", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("x-reelvault" = Option<String>, Header, description = "1; needed with the cookie"),
), request_body = EraseRequest, responses(
    (status = 200, description = "All sessions of this id are erased: the certificate", body = Object),
    (status = "4XX", description = "Refused; 409 if it is held, or the store is written elsewhere", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn erase(call: Call, body: Body) -> Answer<Response> {
    let site = call.site(Role::Admin)?;
    let id = call.session()?;
    call.open.query(&[])?;
    let wanted: EraseRequest = body::json_or_none(&call.open.headers, body).await?;
    let held = if wanted.held { Held::Erase } else { Held::Refuse };
    deed(&call, &site, (&id, None), Action::Erase, move |site, id| {
        let erasure = site.erase_sessions([id.clone()], held)?;
        erasure.certificate.ok_or_else(Problem::not_found)
    })
    .await
}

#[utoipa::path(post, path = "/v1/sites/{site}/sessions/{session}/hold", tag = "admin", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
    ("x-reelvault" = Option<String>, Header, description = "1; needed with the cookie"),
), request_body = HoldRequest, responses(
    (status = 200, description = "The certificate", body = Object),
    (status = "4XX", description = "Refused; 409 if it, or another session of its id, is held already, or the store is written elsewhere", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn hold(call: Call, body: Body) -> Answer<Response> {
    let site = call.site(Role::Admin)?;
    let id = call.session()?;
    let start_ms = call.open.query(&["start"])?.number("start")?;
    let wanted: HoldRequest = body::json(&call.open.headers, body).await?;
    let reason = wanted.reason;
    if reason.is_empty() || reason.len() > reelvault::limits::HOLD_REASON_BYTES_MAX {
        return Err(Problem::bad("A reason has 1 to 1,024 bytes."));
    }
    deed(&call, &site, (&id, start_ms), Action::Hold, move |site, id| {
        let held = match start_ms {
            Some(ms) => site.hold_at(id, ms, &reason),
            None => site.hold(id, &reason),
        };
        held.map_err(|e| match e {
            // The reason was looked at before. Of the sessions of one id one alone can be held.
            Error::Input(InputError::Option { name: "hold", .. }) => {
                Problem::conflict("It is held already, or another session of its id is.")
            }
            e => e.into(),
        })
    })
    .await
}

#[utoipa::path(delete, path = "/v1/sites/{site}/sessions/{session}/hold", tag = "admin", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
    ("x-reelvault" = Option<String>, Header, description = "1; needed with the cookie"),
), responses(
    (status = 200, description = "The certificate", body = Object),
    (status = "4XX", description = "Refused; 404 if it is not held, 409 if the store is written elsewhere", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn release(call: Call) -> Answer<Response> {
    let site = call.site(Role::Admin)?;
    let id = call.session()?;
    let start_ms = call.open.query(&["start"])?.number("start")?;
    deed(&call, &site, (&id, start_ms), Action::Release, move |site, id| {
        // A hold of another session of this id is not what was meant.
        if start_ms.is_some() && !find(site, id, start_ms)?.held {
            return Err(Problem::not_found());
        }
        Ok(site.release(id)?)
    })
    .await
}
