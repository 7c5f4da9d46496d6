//! Signing in and out.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::cookie::{self, Person, SignedIn};
use crate::auth::oidc::{Flow, OidcError};
use crate::auth::{link as links, local, random_text};
use crate::call::{Open, signed_in};
use crate::limits::{COOKIE_BYTES_MAX, OIDC_FLOW_MS_MAX, PASSWORD_BYTES_MAX};
use crate::monitor::metrics::Kind;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::tls::Host;

use super::{body, json};

/// How people may sign in.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Methods {
    /// With a name and a password.
    local: bool,
    oidc: Vec<OidcMethod>,
}

/// An issuer at which people may sign in.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcMethod {
    id: String,
    name: String,
}

/// A local user's name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    user: String,
    #[schema(value_type = String)]
    password: zeroize::Zeroizing<String>,
}

/// The token of a sign-in link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkRequest {
    token: String,
}

fn attempt(open: &Open, kind: &'static str) {
    open.app.metrics.sign_ins.get_or_create(&Kind { kind }).inc();
}

fn set_cookie(response: &mut Response, cookie: &str) -> Answer<()> {
    let value = HeaderValue::from_str(cookie).map_err(|_| Problem::internal())?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

/// Gives somebody the cookie.
async fn welcome(open: &Open, who: Person, mut response: Response) -> Answer {
    let hours = u64::from(open.app.config.session_hours);
    let app = Arc::clone(&open.app);
    let sealed = open.app.blocking.engine(move || -> Answer<String> {
        let id = random_text::<16>(&*app.env.random).map_err(|_| Problem::internal())?;
        let expires_ms = app.env.clock.now_ms().saturating_add(hours * 3_600_000);
        Ok(cookie::seal(&app.cookies, cookie::NAME, &SignedIn { id, who, expires_ms })?)
    });
    let value = sealed.await??;
    if cookie::NAME.len() + 1 + value.len() > COOKIE_BYTES_MAX {
        tracing::warn!(bytes = value.len(), "somebody's claims do not fit into a cookie");
        attempt(open, "refused");
        return Err(Problem::forbidden(
            "Too much of what your issuer says of you is named in the configuration: ask for fewer, wider groups.",
        ));
    }
    let cookie = cookie::set(cookie::NAME, &value, "Strict", hours * 3600);
    set_cookie(&mut response, &cookie)?;
    attempt(open, "ok");
    Ok(response)
}

fn same_site(open: &Open) -> Answer<()> {
    if open.is_cross_site() { Err(Problem::cross_site()) } else { Ok(()) }
}

#[utoipa::path(get, path = "/auth/methods", tag = "sign-in", responses((status = 200, body = Methods)))]
pub(crate) async fn methods(open: Open) -> Answer<Response> {
    let config = &open.app.config;
    let oidc = config.oidc.iter().map(|o| OidcMethod { id: o.id.clone(), name: o.name.clone() });
    json(&Methods {
        local: config.users.iter().any(|u| u.password.is_some()),
        oidc: oidc.collect(),
    })
}

#[utoipa::path(post, path = "/auth/login", tag = "sign-in", request_body = LoginRequest, responses(
    (status = 204, description = "Signed in: a cookie"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn login(open: Open, body: Body) -> Answer<Response> {
    same_site(&open)?;
    let given: LoginRequest = body::json(&open.headers, body).await?;
    if given.user.len() > 128 || given.password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::sign_in_failed());
    }
    open.app.rates.sign_in(open.ctx.asker.ip, Some(&given.user))?;
    let turn = open.app.password_checks.acquire().await.map_err(|_| Problem::busy())?;
    let (app, name) = (Arc::clone(&open.app), given.user.clone());
    let checked = open.app.blocking.engine(move || {
        local::check(&app.config.users, &given.user, given.password.as_bytes()).is_some()
    });
    let right = checked.await?;
    drop(turn);
    if !right {
        attempt(&open, "refused");
        return Err(Problem::sign_in_failed());
    }
    welcome(&open, Person::User(name), StatusCode::NO_CONTENT.into_response()).await
}

#[utoipa::path(post, path = "/auth/link", tag = "sign-in", request_body = LinkRequest, responses(
    (status = 204, description = "Signed in: a cookie"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn link(open: Open, body: Body) -> Answer<Response> {
    same_site(&open)?;
    let given: LinkRequest = body::json(&open.headers, body).await?;
    open.app.rates.sign_in(open.ctx.asker.ip, None)?;
    let app = Arc::clone(&open.app);
    let taken = open.app.blocking.engine(move || {
        let user = links::take(&app.env, &app.config.state, &given.token)?;
        app.config.users.iter().any(|u| u.name == user).then_some(user)
    });
    let Some(user) = taken.await? else {
        attempt(&open, "refused");
        return Err(Problem::sign_in_failed());
    };
    welcome(&open, Person::User(user), StatusCode::NO_CONTENT.into_response()).await
}

#[utoipa::path(post, path = "/auth/logout", tag = "sign-in", responses(
    (status = 204, description = "Signed out"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn logout(open: Open) -> Answer<Response> {
    let marked = open.headers.get("x-reelvault").is_some_and(|v| v == "1");
    if open.is_cross_site() || !marked {
        return Err(Problem::cross_site());
    }
    if let Some(value) = cookie::find(&open.headers, cookie::NAME) {
        let (app, value) = (Arc::clone(&open.app), value.to_owned());
        let out = open.app.blocking.engine(move || {
            if let Some((inside, _)) = signed_in(&app, &value) {
                app.signed_out.add(&inside.id, inside.expires_ms, app.env.clock.now_ms());
            }
        });
        out.await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, &cookie::remove(cookie::NAME, "Strict"))?;
    Ok(response)
}

/// Where an issuer is to send a browser back to: the host on which the sign-in began.
fn redirect(open: &Open, id: &str) -> String {
    let base = match &open.ctx.host {
        Host::Service => open.app.config.public_url(),
        Host::Site(_) => format!("https://{}", open.ctx.authority),
    };
    format!("{base}/auth/oidc/{id}/callback")
}

fn to(place: &str) -> Answer {
    let mut response = StatusCode::FOUND.into_response();
    let place = HeaderValue::from_str(place).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(header::LOCATION, place);
    Ok(response)
}

fn failed(e: &OidcError) -> Problem {
    tracing::warn!(error = %e, "a sign-in at an issuer did not come about");
    match e {
        OidcError::Flow | OidcError::Refused => Problem::sign_in_failed(),
        OidcError::Fetch(_) => Problem::gateway("Try again later."),
        OidcError::Random(_) => Problem::internal(),
    }
}

#[utoipa::path(get, path = "/auth/oidc/{id}/start", tag = "sign-in", params(
    ("id" = String, Path, description = "The issuer's id"),
), responses(
    (status = 302, description = "To the issuer"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "The issuer did not answer", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn oidc_start(open: Open) -> Answer<Response> {
    let id = open.param("id").unwrap_or_default().to_owned();
    let at =
        open.app.issuers.iter().position(|o| o.rules.id == id).ok_or_else(Problem::not_found)?;
    open.app.rates.sign_in(open.ctx.asker.ip, None)?;
    let (app, redirect) = (Arc::clone(&open.app), redirect(&open, &id));
    let places = &open.app.issuers[at].places;
    let begun = open.app.blocking.sign_in(places, move || -> Answer<(String, String)> {
        let started = app.issuers[at].start(&app.env, &redirect);
        let (place, flow) = started.map_err(|e| failed(&e))?;
        Ok((place, cookie::seal(&app.cookies, cookie::FLOW_NAME, &flow)?))
    });
    let (place, flow) = begun.await??;
    let mut response = to(&place)?;
    // The way back is a request that another site began, with which only a lax cookie is sent.
    let cookie = cookie::set(cookie::FLOW_NAME, &flow, "Lax", OIDC_FLOW_MS_MAX / 1000);
    set_cookie(&mut response, &cookie)?;
    Ok(response)
}

#[utoipa::path(get, path = "/auth/oidc/{id}/callback", tag = "sign-in", params(
    ("id" = String, Path, description = "The issuer's id"),
    ("state" = Option<String>, Query, description = "As it was given to the issuer"),
    ("code" = Option<String>, Query, description = "The issuer's code"),
    ("error" = Option<String>, Query, description = "Why the issuer refused"),
), responses(
    (status = 302, description = "Signed in: a cookie, and to the page"),
    (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json"),
    (status = "5XX", description = "The issuer did not answer", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn oidc_callback(open: Open) -> Answer<Response> {
    let id = open.param("id").unwrap_or_default().to_owned();
    let at =
        open.app.issuers.iter().position(|o| o.rules.id == id).ok_or_else(Problem::not_found)?;
    // One cookie of a sign-in that was begun must not hold the issuer's places again and again.
    open.app.rates.comes_back(open.ctx.asker.ip)?;
    // Issuers add parameters of their own.
    let pairs = open.uri.query().unwrap_or_default().split('&');
    let pairs: Vec<_> = pairs.filter_map(|pair| pair.split_once('=')).collect();
    let field = |name: &str| {
        let value = pairs.iter().find(|(n, _)| *n == name)?.1;
        crate::text::unescape(value)
    };
    let (Some(state), Some(code)) = (field("state"), field("code")) else {
        attempt(&open, "refused");
        return Err(Problem::sign_in_failed());
    };
    let value = cookie::find(&open.headers, cookie::FLOW_NAME).unwrap_or_default().to_owned();
    let (app, redirect) = (Arc::clone(&open.app), redirect(&open, &id));
    let places = &open.app.issuers[at].places;
    let finished = open.app.blocking.sign_in(places, move || -> Answer<Person> {
        let flow: Option<Flow> = cookie::open(&app.cookies, cookie::FLOW_NAME, &value);
        let flow = flow.ok_or(OidcError::Flow).map_err(|e| failed(&e))?;
        let now_ms = app.env.clock.now_ms();
        let person = app.issuers[at].finish(now_ms, &redirect, &flow, &state, &code);
        person.map_err(|e| failed(&e))
    });
    let person = match finished.await? {
        Ok(person) => person,
        Err(problem) => {
            attempt(&open, "refused");
            return Err(problem);
        }
    };
    let mut response = welcome(&open, person, to("/")?).await?;
    set_cookie(&mut response, &cookie::remove(cookie::FLOW_NAME, "Lax"))?;
    Ok(response)
}
