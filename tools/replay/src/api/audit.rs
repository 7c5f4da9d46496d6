//! The audit log of a site.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Role;
use crate::audit::{self, Action, AuditRecord};
use crate::call::Call;
use crate::limits::{PAGE_DEFAULT, PAGE_MAX};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::sealed_log::LogError;

use super::json;

/// A page of the audit log, newest first.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditPage {
    records: Vec<AuditRecord>,
    next: Option<String>,
}

#[utoipa::path(get, path = "/v1/sites/{site}/audit", tag = "audit", params(
    ("site" = String, Path, description = "The site"),
    ("limit" = Option<u64>, Query, description = "At most this many, 1 to 1000", minimum = 1, maximum = 1000),
    ("cursor" = Option<String>, Query, description = "Where an earlier page ended"),
), responses(
    (status = 200, body = AuditPage),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "Failed", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn list(call: Call) -> Answer<Response> {
    let site = call.site(Role::Auditor)?;
    let params = call.open.query(&["limit", "cursor"])?;
    let limit = params.number("limit")?.unwrap_or(PAGE_DEFAULT as u64);
    if !(1..=PAGE_MAX as u64).contains(&limit) {
        return Err(Problem::bad("limit is 1 to 1000."));
    }
    let before = params.number("cursor")?.unwrap_or(u64::MAX);
    // A site that is not there has no log in which it could stand that somebody read it.
    call.at_site(&site, |_, _| Ok(())).await?;
    call.record(&site, Action::Audit, None, "ok").await?;
    let records = call.at_site(&site, move |app, site| {
        let records = audit::newest(&app.env, &app.config.state, &site, before, limit as usize);
        records.map_err(|e| match e {
            LogError::Store(e) => e.into(),
            e => {
                tracing::error!(error = %e, "the audit log cannot be read");
                Problem::unavailable("The audit log is damaged.")
            }
        })
    });
    let records = records.await?;
    let last = records.last().map(|record| record.number);
    let next = last.filter(|number| *number > 1).map(|number| number.to_string());
    json(&AuditPage { records, next })
}
