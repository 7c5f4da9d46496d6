//! The page, as it was built into the program; or a page that says how to build it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::call::Open;
use crate::problem::{Answer, Problem};

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    tag: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/page.rs"));

const NO_PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>reelvault</title>\
<main><h1>The replay service is running</h1><p>Its page was not built into this program. Build it, then \
build the program once more:</p><pre>cd tools/replay/web\nnpm ci\nnpm run build\ncargo build -p reelvault-cli\
</pre><p>The interface works without it: <a href=\"/openapi.json\">openapi.json</a>, \
<a href=\"/status\">status</a>.</p></main></html>";

fn serve(open: &Open, file: &File, cache: &'static str) -> Response {
    let known = open.headers.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|v| v.to_str().ok()).any(|v| v.contains(file.tag));
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.bytes.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.insert(header::ETAG, HeaderValue::from_static(file.tag));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

pub(crate) async fn index(open: Open) -> Response {
    if let Some(index) = FILES.iter().find(|f| f.path == "index.html") {
        return serve(&open, index, "no-cache");
    }
    let mut response = NO_PAGE.into_response();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub(crate) async fn asset(open: Open) -> Answer<Response> {
    // The name is compared with those of the files that were built in; no file is looked for.
    let wanted = open.uri.path().trim_start_matches('/');
    let file = FILES.iter().find(|f| f.path == wanted && f.path.starts_with("assets/"));
    let file = file.ok_or_else(Problem::not_found)?;
    Ok(serve(&open, file, "public, max-age=31536000, immutable"))
}
