//! The HTTP interface: one file for each part of it.

mod admin;
mod audit;
mod body;
mod events;
mod export;
mod meta;
mod openapi;
mod page;
mod sessions;
mod sign_in;
mod sites;
mod status;
mod transcript;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use reelvault::{Error, SessionId, SessionInfo, Site};
use serde::Serialize;

use crate::app::App;
use crate::call::{Open, identify};
use crate::layer::Route;
use crate::problem::{Answer, Problem};

pub(crate) use meta::METRICS_TYPE;
pub(crate) use openapi::document;

/// All routes. The OpenAPI document names the same ones, which a test compares.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/auth/methods", get(sign_in::methods))
        .route("/auth/login", post(sign_in::login))
        .route("/auth/link", post(sign_in::link))
        .route("/auth/logout", post(sign_in::logout))
        .route("/auth/oidc/{id}/start", get(sign_in::oidc_start))
        .route("/auth/oidc/{id}/callback", get(sign_in::oidc_callback))
        .route("/v1/me", get(sites::me))
        .route("/v1/sites", get(sites::sites))
        .route("/v1/sites/{site}/sessions", get(sessions::list))
        .route("/v1/sites/{site}/sessions/{session}", get(sessions::show))
        .route("/v1/sites/{site}/sessions/{session}/events", get(events::events))
        .route("/v1/sites/{site}/sessions/{session}/transcript", get(transcript::transcript))
        .route("/v1/sites/{site}/sessions/{session}/export", get(export::session))
        .route("/v1/sites/{site}/sessions/{session}/hold", post(admin::hold).delete(admin::release))
        .route("/v1/sites/{site}/sessions/{session}/erase", post(admin::erase))
        .route("/v1/sites/{site}/export", get(export::site))
        .route("/v1/sites/{site}/audit", get(audit::list))
        .route("/v1/status", get(status::json))
        .route("/status", get(status::html))
        .route("/openapi.json", get(openapi::get))
        .route("/metrics", get(meta::metrics))
        .route("/healthz", get(meta::healthz))
        .route("/readyz", get(meta::readyz))
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route_layer(from_fn(note_route))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .with_state(app)
}

/// Tells the outermost layer which route it was.
async fn note_route(path: MatchedPath, request: Request<Body>, next: Next) -> Response {
    let route = Route(path.as_str().to_owned());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(route);
    response
}

/// Behind the sign-in nobody is told what is there and what is not.
async fn nothing_here(open: Open) -> Problem {
    let path = open.uri.path();
    let behind = path == "/v1" || path.starts_with("/v1/");
    if behind && !matches!(identify(&open.app, &open.headers).await, Ok(Some(_))) {
        return Problem::unauthorized();
    }
    Problem::not_found()
}

async fn wrong_method(open: Open) -> Problem {
    let path = open.uri.path();
    if path.starts_with("/v1/")
        && path != "/v1/status"
        && !matches!(identify(&open.app, &open.headers).await, Ok(Some(_)))
    {
        return Problem::unauthorized();
    }
    Problem::method()
}

/// A value as JSON.
fn json<T: Serialize>(value: &T) -> Answer {
    let text = serde_json::to_vec(value).map_err(|_| Problem::internal())?;
    let mut response = (StatusCode::OK, text).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// The session of this id that started on the day of `start_ms`, or last: an id may be used again two days later.
fn find(site: &Site, id: &SessionId, start_ms: Option<u64>) -> Result<SessionInfo, Error> {
    match start_ms {
        Some(ms) => site.session_at(id, ms),
        None => site.session(id),
    }
}

/// The name of a kind of session.
fn kind_name(kind: reelvault::Kind) -> &'static str {
    match kind {
        reelvault::Kind::Replay => "replay",
        reelvault::Kind::Chat => "chat",
    }
}
