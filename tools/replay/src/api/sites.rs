//! Who I am, and which sites I may see.

use axum::response::Response;
use reelvault::SiteInfo;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Role, Scope};
use crate::call::Call;
use crate::problem::{Answer, ProblemBody};

use super::json;

/// Whoever is signed in.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Me {
    name: String,
    sites: Vec<SiteRoles>,
    /// When the sign-in ends, Unix milliseconds.
    expires_ms: u64,
}

/// What a caller may do at a site.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteRoles {
    id: String,
    roles: Vec<Role>,
}

/// The sites that a caller may see.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sites {
    sites: Vec<SiteBody>,
}

/// A site.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteBody {
    id: String,
    /// How long its new sessions are kept, in days.
    retention_days: u32,
    roles: Vec<Role>,
}

/// The sites that grants name. Of a million sites a caller of one costs no more than that one.
fn granted(store: &reelvault::Store, mut named: Vec<Scope>) -> Vec<SiteInfo> {
    if named.contains(&Scope::Any) {
        return store.sites();
    }
    named.sort();
    named.dedup();
    let ids = named.into_iter().filter_map(|scope| match scope {
        Scope::One(id) => Some(id),
        Scope::Any => None,
    });
    ids.filter_map(|id| Some(store.site(&id).ok()?.info())).collect()
}

async fn seen(call: &Call) -> Answer<Vec<SiteBody>> {
    let app = std::sync::Arc::clone(&call.open.app);
    let named: Vec<Scope> = call.caller.grants.iter().map(|g| g.site.clone()).collect();
    let all = call.open.app.blocking.engine(move || granted(&app.source.store(), named)).await?;
    let seen = all.into_iter().filter(|site| call.sees(&site.id));
    Ok(seen
        .map(|site| SiteBody {
            roles: call.caller.roles(&site.id),
            id: site.id.to_string(),
            retention_days: site.retention_days,
        })
        .collect())
}

#[utoipa::path(get, path = "/v1/me", tag = "sites", responses(
    (status = 200, body = Me),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn me(call: Call) -> Answer<Response> {
    call.open.query(&[])?;
    let sites = seen(&call).await?;
    let sites = sites.into_iter().map(|s| SiteRoles { id: s.id, roles: s.roles }).collect();
    json(&Me { name: call.caller.name.clone(), sites, expires_ms: call.caller.expires_ms })
}

#[utoipa::path(get, path = "/v1/sites", tag = "sites", responses(
    (status = 200, body = Sites),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn sites(call: Call) -> Answer<Response> {
    call.open.query(&[])?;
    json(&Sites { sites: seen(&call).await? })
}
