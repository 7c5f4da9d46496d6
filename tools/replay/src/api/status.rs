//! The status page, for everybody.

use std::fmt::Write;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::call::Open;
use crate::monitor::checks::{State, StatusBody, status};
use crate::problem::Answer;
use crate::text::{html as escaped, minute};

use super::json as as_json;

#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, body = StatusBody)))]
pub(crate) async fn json(open: Open) -> Answer<Response> {
    as_json(&status(&open.app))
}

fn word(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ok => ("ok", "All is well"),
        State::Degraded => ("degraded", "Something is wrong"),
        State::Down => ("down", "Out of service"),
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--ok:#1a7f37;--degraded:#9a6700;--down:#cf222e}\
@media(prefers-color-scheme:dark){:root{--ok:#3fb950;--degraded:#d29922;--down:#f85149}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{width:100%;border-collapse:collapse}\
th,td{text-align:left;padding:.5rem .75rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
.ok{color:var(--ok)}.degraded{color:var(--degraded)}.down{color:var(--down)}";

fn page(body: &StatusBody) -> String {
    let (class, title) = word(body.state);
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · reelvault</title><style>{STYLE}</style>\
         <main><h1 class=\"{class}\">{title}</h1><table><thead><tr><th scope=\"col\">Check\
         <th scope=\"col\">State<th scope=\"col\">Since</thead><tbody>"
    );
    for check in &body.checks {
        let (class, _) = word(check.state);
        let (name, detail) = (escaped(&check.name), escaped(&check.detail));
        let since = minute(check.since_ms);
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{name}<td><span class=\"{class}\">{class}</span><br>{detail}<td>{since}"
        );
    }
    let _ = write!(out, "</tbody></table><h2>Incidents of the last {} days</h2>", body.days);
    if body.incidents.is_empty() {
        out.push_str("<p>None.</p>");
    } else {
        out.push_str(
            "<table><thead><tr><th scope=\"col\">What<th scope=\"col\">Opened\
             <th scope=\"col\">Closed</thead><tbody>",
        );
        for incident in &body.incidents {
            let closed = incident.closed_ms.map_or_else(|| "open".into(), minute);
            let (kind, summary) = (incident.kind.name(), escaped(&incident.summary));
            let opened = minute(incident.opened_ms);
            let _ = write!(out, "<tr><td><b>{kind}</b><br>{summary}<td>{opened}<td>{closed}");
        }
        out.push_str("</tbody></table>");
    }
    out.push_str("</main></html>");
    out
}

#[utoipa::path(get, path = "/status", tag = "status", responses(
    (status = 200, description = "The same as a page", body = String, content_type = "text/html"),
))]
pub(crate) async fn html(open: Open) -> Answer<Response> {
    let mut response = page(&status(&open.app)).into_response();
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
