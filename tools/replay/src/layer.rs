//! The outermost layer: every request and every answer passes it.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header,
};
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tower_service::Service;

use crate::app::App;
use crate::call::Ctx;
use crate::host;
use crate::limits::{REQUESTS_PART, STREAMS_MAX, URI_BYTES_MAX};
use crate::monitor::metrics::Kind;
use crate::problem::{Answer, Problem};
use crate::rate::network;
use crate::shares::Share;
use crate::tls::Connected;
use crate::tls::activity::Asked;

/// What a page of the service may load and do. The recorded page is replayed in a frame that inherits it.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src data:; connect-src 'self'; frame-src 'self' about: blob:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Headers of every answer.
const HEADERS: [(&str, &str); 9] = [
    ("content-security-policy", POLICY),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    // No policy keeps a browser from looking up the names that a recorded page links to.
    ("x-dns-prefetch-control", "off"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];

/// The route of an answer, a pattern without ids.
#[derive(Clone)]
pub(crate) struct Route(pub(crate) String);

/// Answers one request.
pub(crate) async fn handle<B>(
    app: Arc<App>,
    router: Router,
    connected: Connected,
    request: Request<B>,
) -> Response
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let begun = Instant::now();
    let asked = connected.activity.begin(request.version() == Version::HTTP_2);
    let id: Arc<str> = request_id(&app).into();
    let method = request.method().clone();
    let outcome = inner(&app, router, &connected, request.map(Body::new), &id).await;
    let mut response = outcome.unwrap_or_else(IntoResponse::into_response);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        note(&app, &problem, &id);
        let allowed = response.headers_mut().remove(header::ALLOW);
        response = problem.render(&id);
        // Which methods there are, the router knows (RFC 9110, 15.5.6).
        if let Some(allowed) = allowed.filter(|_| problem.status == StatusCode::METHOD_NOT_ALLOWED)
        {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    finish(response.headers_mut(), &id);
    let status = response.status();
    let route = response.extensions_mut().remove::<Route>();
    let route = route.map_or_else(|| "other".into(), |r| r.0);
    let took = begun.elapsed();
    let name = known_method(&method);
    app.metrics.answered(name, &route, status.as_u16(), took);
    tracing::info!(
        request = %id, method = name, route, status = status.as_u16(), micros = took.as_micros() as u64,
        "answered"
    );
    response.map(|body| Body::new(Counted { body, bytes: app.metrics.bytes.clone(), asked }))
}

/// A method that is counted under its own name; a client can invent others without end.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// A random id (UUID version 4) of a request.
fn request_id(app: &App) -> String {
    let mut bytes = [0u8; 16];
    // Without randomness the id is no secret, only less useful.
    let _ = app.env.random.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::text::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn note(app: &App, problem: &Problem, id: &str) {
    if let Some((file, kind)) = problem.damage.as_deref() {
        let kind = *kind;
        app.metrics.read_errors.get_or_create(&Kind { kind }).inc();
        app.scrub.met(file);
        tracing::error!(request = id, file, kind, "damage met in reading");
    } else if problem.status.is_server_error() {
        tracing::warn!(request = id, kind = problem.kind(), "not answered as asked");
    }
}

/// A kind of damage as it is counted.
pub(crate) fn damage_kind(damage: reelvault::Damage) -> &'static str {
    use reelvault::Damage as D;
    match damage {
        D::Rot => "rot",
        D::Tampered | D::Commitment => "decrypt",
        D::Truncated | D::Missing => "missing",
        D::Swapped | D::RolledBack | D::Foreign => "swapped",
        _ => "malformed",
    }
}

fn finish(headers: &mut HeaderMap, id: &str) {
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    }
}

async fn inner(
    app: &Arc<App>,
    mut router: Router,
    connected: &Connected,
    mut request: Request<Body>,
    id: &Arc<str>,
) -> Answer {
    let refused = |kind| app.metrics.refused.get_or_create(&Kind { kind }).inc();
    let named = host::of_request(request.uri(), request.headers());
    let name = named.ok_or_else(|| Problem::bad("One host must be named."))?;
    if connected.sni.as_deref().is_some_and(|sni| !sni.eq_ignore_ascii_case(name)) {
        return Err(Problem::misdirected());
    }
    let host = app.certificates.host(name).ok_or_else(Problem::misdirected)?;
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or(name),
    };
    let peer = connected.peer.ip();
    let asker = host::client(peer, request.headers(), &app.config.proxy.trusted);
    let authority = authority.into();
    let ctx = Ctx { id: Arc::clone(id), asker, host, authority };
    let uri = request.uri().path_and_query().map_or(0, |p| p.as_str().len());
    if uri > URI_BYTES_MAX {
        return Err(Problem::uri_too_long());
    }
    app.rates.address(asker.ip).inspect_err(|_| _ = refused("address"))?;
    // Whoever watches over the service ends it when this is not answered; that nobody else can be is no reason.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    let place = if is_probe { None } else { Some(place(app, asker.ip)?) };
    request.extensions_mut().insert(ctx);
    let time = Duration::from_secs(app.config.limits.request_seconds.into());
    let answer = tokio::time::timeout(time, router.call(request)).await;
    let Ok(answer) = answer else {
        refused("time");
        return Err(Problem::busy());
    };
    let Ok(response) = answer;
    Ok(response.map(|body| Body::new(Placed { body, _place: place })))
}

/// A place among all requests, and among those of its address.
type Place = (OwnedSemaphorePermit, Share);

fn place(app: &App, address: IpAddr) -> Result<Place, Problem> {
    let busy = |kind| {
        app.metrics.refused.get_or_create(&Kind { kind }).inc();
        Problem::busy()
    };
    let most = (app.config.limits.requests / REQUESTS_PART).max(STREAMS_MAX);
    let share = app.shares.enter(network(address), most);
    let share = share.ok_or_else(|| busy("requests_per_address"))?;
    let place = Arc::clone(&app.requests).try_acquire_owned();
    Ok((place.map_err(|_| busy("requests"))?, share))
}

/// A body that holds the place of its request until it has been sent.
struct Placed {
    body: Body,
    _place: Option<Place>,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body whose bytes are counted, and whose client is watched.
struct Counted {
    body: Body,
    bytes: prometheus_client::metrics::counter::Counter,
    asked: Asked,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.bytes.inc_by(bytes as u64);
                self.asked.gave(bytes);
            }
            _ => self.asked.waits(),
        }
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
