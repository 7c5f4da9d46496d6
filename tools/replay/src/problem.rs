//! Errors as `application/problem+json` (RFC 9457). What is absent and what is somebody else's look the same.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelvault::{Error, InputError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::layer::damage_kind;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    pub(crate) retry_after: Option<u64>,
    /// The damaged file and the kind of damage, for the log and the checks, never for the client.
    pub(crate) damage: Option<Box<(String, &'static str)>>,
}

/// An error as the client gets it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProblemBody {
    /// `urn:reelvault:` and the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// What to do, where there is something.
    detail: String,
    /// `urn:uuid:` and the id of the request, which stands in the log too.
    instance: String,
}

/// The kind of damage of what the medium does not give back.
pub(crate) const UNREADABLE: &str = "unreadable";

pub(crate) type Answer<T = Response> = Result<T, Problem>;

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, kind, title, detail: detail.into(), retry_after: None, damage: None }
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not signed in", "Sign in first.")
    }

    pub(crate) fn sign_in_failed() -> Self {
        let detail = "The user, the password or the link is wrong, or the link was used.";
        Self::new(StatusCode::UNAUTHORIZED, "sign-in-failed", "Not signed in", detail)
    }

    pub(crate) fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    pub(crate) fn cross_site() -> Self {
        Self::forbidden(
            "The request comes from another site or as a part of a page, or lacks the header X-Reelvault.",
        )
    }

    pub(crate) fn not_found() -> Self {
        let detail = "There is nothing here, or nothing that you may see.";
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(crate) fn method() -> Self {
        let title = "Method not allowed";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, "")
    }

    pub(crate) fn gone() -> Self {
        let detail = "It was erased, or its retention has ended. Nobody can read it any more.";
        Self::new(StatusCode::GONE, "gone", "Gone", detail)
    }

    pub(crate) fn conflict(detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    pub(crate) fn too_large(detail: &'static str) -> Self {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(status, "too-large", "Too large", detail)
    }

    pub(crate) fn uri_too_long() -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri-too-long", "Address too long", "")
    }

    pub(crate) fn media_type() -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "media-type", "Unsupported media type", "Send application/json.")
    }

    pub(crate) fn misdirected() -> Self {
        let detail = "This connection is not for this host.";
        let status = StatusCode::MISDIRECTED_REQUEST;
        Self::new(status, "misdirected", "Misdirected request", detail)
    }

    pub(crate) fn slow() -> Self {
        let status = StatusCode::REQUEST_TIMEOUT;
        Self::new(status, "timeout", "Took too long", "The request did not arrive in time.")
    }

    pub(crate) fn limited(seconds: u64) -> Self {
        let detail = "Wait before the next attempt.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let problem = Self::new(status, "rate-limited", "Too many requests", detail);
        Self { retry_after: Some(seconds.max(1)), ..problem }
    }

    pub(crate) fn busy() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let problem = Self::new(status, "busy", "Busy", "Try again in a moment.");
        Self { retry_after: Some(1), ..problem }
    }

    pub(crate) fn unavailable(detail: &'static str) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { retry_after: Some(5), ..Self::new(status, "unavailable", "Unavailable", detail) }
    }

    pub(crate) fn internal() -> Self {
        let detail = "The log of the service has more under the id of this request.";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal", "Internal error", detail)
    }

    fn damaged(file: String, kind: &'static str) -> Self {
        let detail = "Its stored bytes are damaged. Other sessions are not affected.";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let problem = Self::new(status, "damaged", "Damaged", detail);
        Self { damage: Some(Box::new((file, kind))), ..problem }
    }

    pub(crate) fn gateway(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "issuer", "The issuer did not answer", detail)
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The answer; `id` is that of the request.
    pub(crate) fn render(&self, id: &str) -> Response {
        let body = ProblemBody {
            kind: format!("urn:reelvault:{}", self.kind),
            title: self.title.into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance: format!("urn:uuid:{id}"),
        };
        let text = serde_json::to_string(&body).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

/// The answer without its body: the outermost layer, which knows the request's id, writes that.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(InputError::Cursor) => {
                Self::bad("The cursor does not belong to this query.")
            }
            Error::Input(e @ (InputError::TimesReversed { .. } | InputError::Option { .. })) => {
                Self::bad(e.to_string())
            }
            Error::UnknownSite(_) | Error::UnknownSession | Error::Input(_) => Self::not_found(),
            Error::Erased | Error::Expired { .. } => Self::gone(),
            Error::Held { .. } => Self::conflict("It is held. Nothing was erased."),
            Error::Locked { .. } => {
                Self::conflict("Another process writes to the store; nothing was changed.")
            }
            Error::ReadOnly => Self::conflict("What is served here cannot be written."),
            Error::Corrupt(c) => Self::damaged(c.file, damage_kind(c.kind)),
            // A bad sector is damage, too: no later try finds more.
            e @ Error::Io { .. } => match e.damaged_file() {
                Some(file) => Self::damaged(file, UNREADABLE),
                None => Self::internal(),
            },
            Error::DiskFull { .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "disk-full", "Disk full", "Nothing was changed.")
            }
            _ => Self::internal(),
        }
    }
}
