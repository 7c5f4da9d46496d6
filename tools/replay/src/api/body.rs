//! Small bodies of requests: JSON, whole, in time.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;

use crate::limits::{BODY_BYTES_MAX, BODY_TIME_MAX};
use crate::problem::{Answer, Problem};

/// Reads a JSON body. A form of another site's page cannot send one unasked.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Answer<T> {
    check_type(headers)?;
    parse(headers, &read(body).await?)
}

/// Reads a JSON body that may be missing.
pub(super) async fn json_or_none<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> Answer<T> {
    let bytes = read(body).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    parse(headers, &bytes)
}

fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Answer<T> {
    check_type(headers)?;
    serde_json::from_slice(bytes).map_err(|_| Problem::bad("The body is not the JSON expected."))
}

fn check_type(headers: &HeaderMap) -> Answer<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.map(|k| k.split(';').next().unwrap_or_default().trim());
    match kind.is_some_and(|k| k.eq_ignore_ascii_case("application/json")) {
        true => Ok(()),
        false => Err(Problem::media_type()),
    }
}

async fn read(body: Body) -> Answer<Vec<u8>> {
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME_MAX, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes().to_vec()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::too_large("The body is larger than 16 KiB."))
        }
        Ok(Err(_)) => Err(Problem::bad("The body broke off.")),
        Err(_) => Err(Problem::slow()),
    }
}
