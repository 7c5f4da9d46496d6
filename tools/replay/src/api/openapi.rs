//! The OpenAPI document, made of what stands beside the code it describes.

use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};

use crate::problem::Answer;

use super::json;

#[derive(OpenApi)]
#[openapi(
    info(title = "reelvault replay service", description = "Sessions of the sites that a caller may see."),
    paths(
        super::sign_in::methods,
        super::sign_in::login,
        super::sign_in::link,
        super::sign_in::logout,
        super::sign_in::oidc_start,
        super::sign_in::oidc_callback,
        super::sites::me,
        super::sites::sites,
        super::sessions::list,
        super::sessions::show,
        super::events::events,
        super::transcript::transcript,
        super::export::session,
        super::export::site,
        super::admin::erase,
        super::admin::hold,
        super::admin::release,
        super::audit::list,
        super::status::json,
        super::status::html,
        super::meta::metrics,
        super::meta::healthz,
        super::meta::readyz,
        get,
    ),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
        let cookie = ApiKey::Cookie(ApiKeyValue::new(crate::auth::cookie::NAME));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        let either = ["bearer", "cookie"].map(|name| {
            utoipa::openapi::security::SecurityRequirement::new(name, Vec::<String>::new())
        });
        for (path, item) in &mut document.paths.paths {
            if !path.starts_with("/v1/") || path == "/v1/status" {
                continue;
            }
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.security = Some(either.to_vec());
            }
        }
    }
}

/// The document as JSON.
///
/// # Errors
/// None that is known of.
pub(crate) fn document() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}

#[utoipa::path(get, path = "/openapi.json", tag = "status", responses(
    (status = 200, description = "This document", body = Object),
))]
pub(crate) async fn get() -> Answer<Response> {
    json(&Document::openapi())
}
