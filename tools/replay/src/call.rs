//! One request: who makes it, what it names, and whether that may be had.

use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use reelvault::{SessionId, Site, SiteId};

use crate::access::{Caller, Role, Via};
use crate::app::App;
use crate::audit::{Action, Entry};
use crate::auth::bearer;
use crate::auth::cookie::{self, Person, SignedIn};
use crate::auth::oidc;
use crate::host::Asker;
use crate::problem::{Answer, Problem};
use crate::text::unescape;
use crate::tls::Host;

/// What the outermost layer found out about a request.
#[derive(Clone, Debug)]
pub(crate) struct Ctx {
    pub(crate) id: Arc<str>,
    pub(crate) asker: Asker,
    pub(crate) host: Host,
    /// The host as the request names it, with its port.
    pub(crate) authority: Arc<str>,
}

/// A request whose caller need not be known.
pub(crate) struct Open {
    pub(crate) app: Arc<App>,
    pub(crate) ctx: Ctx,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    params: Vec<(String, String)>,
}

/// A request of somebody known.
pub(crate) struct Call {
    pub(crate) open: Open,
    pub(crate) caller: Caller,
}

impl FromRequestParts<Arc<App>> for Open {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let ctx = Extension::<Ctx>::from_request_parts(parts, app).await;
        let Extension(ctx) = ctx.map_err(|_| Problem::internal())?;
        let params = RawPathParams::from_request_parts(parts, app).await;
        // What is no UTF-8 names nothing.
        let params = params.map_err(|_| Problem::not_found())?;
        let params = params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Ok(Self {
            app: Arc::clone(app),
            ctx,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            params,
        })
    }
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let open = Open::from_request_parts(parts, app).await;
        let open = match open {
            // Nobody is told what names something before it is known who asks.
            Err(p) if known_from_parts(parts, app).await.is_none() => {
                return Err(if p == Problem::not_found() { Problem::unauthorized() } else { p });
            }
            open => open?,
        };
        let Some(caller) = identify(app, &open.headers).await? else {
            open.deny_nobody();
            return Err(Problem::unauthorized());
        };
        app.rates.caller(&caller.who)?;
        let call = Self { open, caller };
        call.check_same_site()?;
        Ok(call)
    }
}

async fn known_from_parts(parts: &Parts, app: &Arc<App>) -> Option<Caller> {
    identify(app, &parts.headers).await.ok().flatten()
}

/// Who makes a request. A token counts before a cookie; one that is wrong is not made good by the other.
pub(crate) async fn identify(app: &Arc<App>, headers: &HeaderMap) -> Answer<Option<Caller>> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = given.next() {
        if given.next().is_some() {
            return Ok(None);
        }
        let text = value.to_str().unwrap_or_default();
        let Some((scheme, token)) = text.split_once(' ') else { return Ok(None) };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let (app, token) = (Arc::clone(app), token.trim().to_owned());
        let checking = Arc::clone(&app);
        let checked = app.blocking.token(move || bearer::check(&checking.bearers, &token)).await?;
        return Ok(checked.ok());
    }
    let Some(value) = cookie::find(headers, cookie::NAME) else { return Ok(None) };
    Ok(signed_in(app, value).map(|(_, caller)| caller))
}

/// Whom a cookie stands for. It reads nothing.
pub(crate) fn signed_in(app: &App, value: &str) -> Option<(SignedIn, Caller)> {
    let inside: SignedIn = cookie::open(&app.cookies, cookie::NAME, value)?;
    if app.env.clock.now_ms() >= inside.expires_ms || app.signed_out.has(&inside.id) {
        return None;
    }
    let (who, name, grants) = match &inside.who {
        Person::User(name) => {
            // A user who was taken out of the configuration is signed out.
            let user = app.config.users.iter().find(|u| u.name == *name)?;
            let grants = user
                .grants
                .iter()
                .map(|g| crate::access::Grant { site: g.site.clone(), roles: g.roles.clone() });
            (format!("user:{name}"), name.clone(), grants.collect())
        }
        Person::Issuer { oidc, issuer, subject, name, claims } => {
            let rules = app.config.oidc.iter().find(|o| o.id == *oidc && o.issuer == *issuer)?;
            (format!("oidc:{oidc}:{subject}"), name.clone(), oidc::grants(rules, claims))
        }
    };
    let expires_ms = inside.expires_ms;
    Some((inside, Caller { who, name, grants, expires_ms, via: Via::Cookie }))
}

impl Open {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The parameters of the query: known ones alone, each once.
    pub(crate) fn query(&self, known: &[&str]) -> Answer<QueryParams> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in self.uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = || Problem::bad("The query is not escaped as it should be.");
            let name = unescape(name).ok_or_else(bad)?;
            let value = unescape(value).ok_or_else(bad)?;
            if !known.contains(&name.as_str()) || found.iter().any(|(n, _)| *n == name) {
                let names = known.join(", ");
                return Err(Problem::bad(format!("The query may hold, each once: {names}.")));
            }
            found.push((name, value));
        }
        Ok(QueryParams(found))
    }

    /// Whether a browser says that another site made it send this, or does not say enough.
    pub(crate) fn is_cross_site(&self) -> bool {
        let header = |name: &str| self.headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        if header("sec-fetch-site").is_some_and(|from| !matches!(from, "same-origin" | "none")) {
            return true;
        }
        let ours = format!("https://{}", self.ctx.authority);
        header("origin").is_some_and(|origin| !origin.eq_ignore_ascii_case(&ours))
    }

    /// Whether a browser says that a page loads this as a part of it: neither a call of a script nor what a person follows.
    fn is_loaded(&self) -> bool {
        let loaded_as = self.headers.get("sec-fetch-dest");
        loaded_as.is_some_and(|dest| dest != "empty" && dest != "document")
    }

    fn deny_nobody(&self) {
        let site = self.param("site").and_then(|text| SiteId::new(text).ok());
        if let Some(site) = site {
            self.app.audit.denied(Entry {
                site,
                who: "nobody".into(),
                action: Action::Denied,
                session: self.session_text(),
                outcome: "unauthorized",
                address: self.ctx.asker.to_string(),
            });
        }
    }

    fn session_text(&self) -> Option<String> {
        let id = self.param("session").and_then(|text| SessionId::new(text).ok());
        id.map(|id| id.to_string())
    }
}

/// A session that is being shown, and not yet recorded as such.
pub(crate) struct Begun(Entry);

impl Begun {
    /// Records a view here and now, where it may block; whether it was one. What else is done waits for the disk, and not here.
    pub(crate) fn record(self, app: &App) -> Answer<bool> {
        if self.0.action != Action::View {
            return Ok(false);
        }
        if app.audit.record_view(&self.0) { Ok(true) } else { Err(not_recorded()) }
    }
}

fn not_recorded() -> Problem {
    Problem::unavailable("The audit log cannot be written, so nothing is shown or done.")
}

/// Parameters of a query.
pub(crate) struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> Answer<Option<u64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.map(Some).ok_or_else(|| Problem::bad(format!("{name} must be a whole number.")))
    }
}

impl Call {
    /// A cookie alone proves nothing of who wrote the page that sent it, and a recorded page is shown within ours: what it loads
    /// as a picture or a style comes from the same site, but is no call of the page.
    fn check_same_site(&self) -> Answer<()> {
        if self.caller.via == Via::Bearer {
            return Ok(());
        }
        let safe = matches!(self.open.method, Method::GET | Method::HEAD);
        let marked = self.open.headers.get("x-reelvault").is_some_and(|v| v == "1");
        if self.open.is_cross_site() || self.open.is_loaded() || !(safe || marked) {
            return Err(Problem::cross_site());
        }
        Ok(())
    }

    /// The site that the request names, if the caller has that role there. Nothing was opened yet when this is decided: a
    /// site that is not there and one that is somebody else's are the same.
    pub(crate) fn site(&self, role: Role) -> Answer<SiteId> {
        let text = self.open.param("site").unwrap_or_default();
        let site = SiteId::new(text).map_err(|_| Problem::not_found())?;
        let refused = self.refusal(&site, role);
        if let Some(problem) = refused {
            self.open.app.audit.denied(self.entry(
                &site,
                Action::Denied,
                self.open.session_text(),
                problem.kind(),
            ));
            return Err(problem);
        }
        Ok(site)
    }

    fn refusal(&self, site: &SiteId, role: Role) -> Option<Problem> {
        if let Host::Site(bound) = &self.open.ctx.host
            && bound != site
        {
            return Some(Problem::not_found());
        }
        let roles = self.caller.roles(site);
        if roles.is_empty() {
            return Some(Problem::not_found());
        }
        if !self.is_allowed_from_here(site) {
            return Some(Problem::forbidden("This site cannot be used from your address."));
        }
        let lacking = !roles.contains(&role);
        lacking.then(|| Problem::forbidden("You lack the role that this needs."))
    }

    fn is_allowed_from_here(&self, site: &SiteId) -> bool {
        let allowed = self.open.app.allowed.get(site).filter(|nets| !nets.is_empty());
        let Asker { ip, is_known } = self.open.ctx.asker;
        allowed.is_none_or(|nets| is_known && nets.iter().any(|net| net.contains(&ip)))
    }

    /// Whether a site is to be shown in lists.
    pub(crate) fn sees(&self, site: &SiteId) -> bool {
        let here = match &self.open.ctx.host {
            Host::Site(bound) => bound == site,
            Host::Service => true,
        };
        here && !self.caller.roles(site).is_empty() && self.is_allowed_from_here(site)
    }

    /// The session that the request names.
    pub(crate) fn session(&self) -> Answer<SessionId> {
        let text = self.open.param("session").unwrap_or_default();
        SessionId::new(text).map_err(|_| Problem::not_found())
    }

    pub(crate) fn entry(
        &self,
        site: &SiteId,
        action: Action,
        session: Option<String>,
        outcome: &'static str,
    ) -> Entry {
        Entry {
            site: site.clone(),
            who: self.caller.who.clone(),
            action,
            session,
            outcome,
            address: self.open.ctx.asker.to_string(),
        }
    }

    /// Records a deed before it is done, or shown to be done. What cannot be recorded is refused.
    pub(crate) async fn record(
        &self,
        site: &SiteId,
        action: Action,
        session: Option<&SessionId>,
        outcome: &'static str,
    ) -> Answer<()> {
        let session = session.map(ToString::to_string);
        let entry = self.entry(site, action, session, outcome);
        if self.open.app.audit.record(entry).await { Ok(()) } else { Err(not_recorded()) }
    }

    /// What is to be recorded once a session is being shown.
    pub(crate) fn begun(&self, site: &SiteId, action: Action, session: &SessionId) -> Begun {
        Begun(self.entry(site, action, Some(session.to_string()), "ok"))
    }

    /// Does something with a site in the store, where it may block.
    pub(crate) async fn at_site<T: Send + 'static>(
        &self,
        site: &SiteId,
        work: impl FnOnce(&Arc<App>, Site) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let (app, site) = (Arc::clone(&self.open.app), site.clone());
        let done = self.open.app.blocking.engine(move || {
            let site = app.source.store().site(&site)?;
            work(&app, site)
        });
        done.await?
    }
}
