//! For whoever watches over the service: metrics, and whether it lives and is ready.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::call::Open;
use crate::problem::{Answer, Problem, ProblemBody};

/// What Prometheus reads.
pub(crate) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[utoipa::path(get, path = "/metrics", tag = "status", responses(
    (status = 200, description = "OpenMetrics, with the token of the configuration", body = String, content_type = "application/openmetrics-text"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn metrics(open: Open) -> Answer<Response> {
    // Without a token in the configuration there is nothing here.
    let Some(expected) = open.app.metrics_token else { return Err(Problem::not_found()) };
    let given = open.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
    let same: bool = <[u8; 32]>::from(Sha256::digest(given)).ct_eq(&expected).into();
    if !same {
        return Err(Problem::unauthorized());
    }
    let app = std::sync::Arc::clone(&open.app);
    let text = open.app.blocking.engine(move || app.metrics_text()).await?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static(METRICS_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

#[utoipa::path(get, path = "/healthz", tag = "status", responses(
    (status = 200, description = "The process lives", body = String, content_type = "text/plain"),
))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

#[utoipa::path(get, path = "/readyz", tag = "status", responses(
    (status = 200, description = "Recordings are served", body = String, content_type = "text/plain"),
    (status = 503, description = "They are not, or the service is stopping", body = String, content_type = "text/plain"),
))]
pub(crate) async fn readyz(open: Open) -> Response {
    if open.app.checks.is_ready() && !open.app.is_stopping() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
}
