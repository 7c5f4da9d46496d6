//! A chat as a list of messages.

use axum::response::Response;
use reelvault::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Role;
use crate::audit::Action;
use crate::call::Call;
use crate::limits::TRANSCRIPT_BYTES_MAX;
use crate::problem::{Answer, Problem, ProblemBody};

use super::events::absent;
use super::{find, json};

/// A chat.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transcript {
    messages: Vec<Message>,
}

/// A message of a chat.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    /// Unix milliseconds.
    at_ms: u64,
    /// Who wrote it, in the words of the recording: `visitor`, `agent`, or another.
    from: String,
    text: String,
}

/// A message as it is recorded.
#[derive(Deserialize)]
struct Recorded {
    timestamp: f64,
    #[serde(default)]
    from: String,
    #[serde(default)]
    text: String,
}

fn read(
    site: &reelvault::Site,
    id: &reelvault::SessionId,
    start_ms: Option<u64>,
) -> Answer<Transcript> {
    let info = find(site, id, start_ms)?;
    if info.kind != Kind::Chat {
        return Err(absent());
    }
    if info.raw_bytes > TRANSCRIPT_BYTES_MAX {
        return Err(Problem::too_large("The chat is too long for a transcript; read its events."));
    }
    let mut replay = site.replay_listed(&info)?;
    let mut messages = Vec::new();
    while let Some(chunk) = replay.next_chunk()? {
        for line in chunk.events.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            // The engine keeps lines that look like objects; what is no message is passed over.
            let Ok(message) = serde_json::from_slice::<Recorded>(line) else { continue };
            let (at_ms, from, text) = (message.timestamp as u64, message.from, message.text);
            messages.push(Message { at_ms, from, text });
        }
    }
    Ok(Transcript { messages })
}

#[utoipa::path(get, path = "/v1/sites/{site}/sessions/{session}/transcript", tag = "sessions", params(
    ("site" = String, Path, description = "The site"),
    ("session" = String, Path, description = "The session, a chat"),
    ("start" = Option<u64>, Query, description = "The session of this id that started on the day (UTC) of this time, Unix milliseconds; else the one that started last"),
), responses(
    (status = 200, body = Transcript),
    (status = "4XX", description = "Refused; 404 if it is no chat", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn transcript(call: Call) -> Answer<Response> {
    let site = call.site(Role::Viewer)?;
    let id = call.session()?;
    let start_ms = call.open.query(&["start"])?.number("start")?;
    let wanted = id.clone();
    let transcript = call.at_site(&site, move |_, site| read(&site, &wanted, start_ms)).await;
    let outcome = transcript.as_ref().map_or_else(Problem::kind, |_| "ok");
    call.record(&site, Action::View, Some(&id), outcome).await?;
    json(&transcript?)
}
