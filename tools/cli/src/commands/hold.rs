//! `hold`, `release` and `holds`: sessions that are kept beyond their retention.

use reelvault::retention::Certificate;
use reelvault::{Error, HoldInfo, InputError, SessionInfo, Site, SiteId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::{self, Access};
use crate::certificate;
use crate::exit::{Exit, Failure, Run};
use crate::human;
use crate::info;
use crate::output::{Column, Out, note, table};
use crate::when::When;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault hold shop.example s-5f3a19 --reason \"court order 12 O 34/26\"
  reelvault hold shop.example s-5f3a19 --start 2026-11-22 --reason complaint
  reelvault holds shop.example
  reelvault release shop.example s-5f3a19

A session that is held outlives its retention, and is erased only with --held.
Of the sessions of one id one alone is held at a time.";

pub(crate) const RELEASE_EXAMPLES: &str = "\
Examples:
  reelvault release shop.example s-5f3a19

If the session's retention has passed meanwhile, it is gone at once and for
good, here and in every copy.";

pub(crate) const LIST_EXAMPLES: &str = "\
Examples:
  reelvault holds
  reelvault holds shop.example --json";

/// Arguments of `hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// The site
    site: SiteId,
    /// The session's id, or the beginning of it
    #[arg(value_name = "SESSION")]
    session: String,
    /// The session of this id that started on the day (UTC) of this time; the id must be whole. Once that day has expired, the
    /// command ends with 15
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<When>,
    /// Why, 1 to 1,024 bytes; told to whoever lists the holds
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `release`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The site
    site: SiteId,
    /// The whole id of the session; a shortened one is not accepted
    #[arg(value_name = "SESSION")]
    session: reelvault::SessionId,
}

/// Arguments of `holds`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only of this site
    site: Option<SiteId>,
}

/// A hold in JSON.
#[derive(Serialize)]
pub(crate) struct HoldBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    session: &'a str,
    start_ms: u64,
    since_ms: u64,
    reason: &'a str,
    expires: String,
}

impl<'a> From<&'a HoldInfo> for HoldBody<'a> {
    fn from(hold: &'a HoldInfo) -> Self {
        Self {
            site: None,
            session: hold.session.as_str(),
            start_ms: hold.start_ms,
            since_ms: hold.since_ms,
            reason: &hold.reason,
            expires: human::day(hold.expiry_day),
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    session: &'a str,
    certificate: Box<RawValue>,
}

#[derive(Serialize)]
struct List<'a> {
    holds: Vec<HoldBody<'a>>,
}

pub(crate) fn run(access: &Access, args: &HoldArgs, out: &mut Out) -> Run {
    let store = access.write()?;
    let site = access::site(&store, &args.site)?;
    let info = info::find_at(&site, &args.session, args.start)?;
    if info.held {
        return Err(Failure::new(
            Exit::Failed,
            "the session is held already; nothing was changed",
            "See why with: reelvault holds SITE. For another reason, release it first.",
        ));
    }
    let certificate = site.hold_at(&info.id, info.start_ms, &args.reason).map_err(|e| match e {
        Error::Input(InputError::Option { name: "hold", .. }) if is_other_held(&site, &info) => {
            Failure::new(
                Exit::Failed,
                "another session of this id is held; nothing was changed",
                "See it with: reelvault holds SITE. One of an id is held at a time.",
            )
        }
        e => e.into(),
    })?;
    drop(site);
    store.close()?;
    let until = human::day(info.expiry_day);
    let kept = format!("the session, beyond {until}, until it is released");
    print(&args.site, info.id.as_str(), ("held", kept), &certificate, out)
}

/// Whether another session of the same id is held. What cannot be read is no reason to say so.
fn is_other_held(site: &Site, info: &SessionInfo) -> bool {
    site.holds().is_ok_and(|holds| holds.iter().any(|hold| hold.session == info.id))
}

pub(crate) fn release(access: &Access, args: &ReleaseArgs, out: &mut Out) -> Run {
    let store = access.write()?;
    let site = access::site(&store, &args.site)?;
    let certificate = site.release(&args.session).map_err(|e| match e {
        reelvault::Error::UnknownSession => Failure::new(
            Exit::Failed,
            "no hold of such a session at this site",
            "Ids must be whole, for what has expired is gone with its hold. See the holds with: \
             reelvault holds SITE",
        ),
        e => e.into(),
    })?;
    drop(site);
    store.close()?;
    let what = ("released", "the session is kept as long as its retention says".to_owned());
    let exit = print(&args.site, args.session.as_str(), what, &certificate, out)?;
    certificate::warn(&certificate);
    Ok(exit)
}

fn print(
    site: &SiteId,
    session: &str,
    what: (&'static str, String),
    certificate: &Certificate,
    out: &mut Out,
) -> Run {
    if out.is_json() {
        let certificate = certificate::raw(certificate)?;
        out.document(&Body { site: site.as_str(), session, certificate })?;
    } else {
        let number = certificate.statement.number;
        out.pairs([what, ("certificate", format!("number {number}"))])?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

pub(crate) fn list(access: &Access, args: &ListArgs, out: &mut Out) -> Run {
    let store = access.read()?;
    let holds: Vec<(SiteId, HoldInfo)> = match &args.site {
        None => store.holds()?,
        Some(id) => {
            let holds = access::site(&store, id)?.holds()?;
            holds.into_iter().map(|hold| (id.clone(), hold)).collect()
        }
    };
    if out.is_json() {
        let body = |(site, hold)| HoldBody { site: Some(SiteId::as_str(site)), ..hold };
        let holds = holds.iter().map(|(site, hold)| (site, HoldBody::from(hold))).map(body);
        out.document(&List { holds: holds.collect() })?;
        return Ok(Exit::Done);
    }
    if holds.is_empty() {
        note("no session is held");
        return Ok(Exit::Done);
    }
    let columns = [
        Column { title: "held since (UTC)", right: false, shorten: false },
        Column { title: "site", right: false, shorten: true },
        Column { title: "id", right: false, shorten: true },
        Column { title: "kept until", right: false, shorten: false },
        Column { title: "reason", right: false, shorten: true },
    ];
    let row = |(site, hold): &(SiteId, HoldInfo)| {
        vec![
            human::time(hold.since_ms),
            site.to_string(),
            hold.session.to_string(),
            human::day(hold.expiry_day),
            human::plain(&hold.reason),
        ]
    };
    out.line(table(&columns, holds.iter().map(row).collect(), &mut Vec::new(), true))?;
    Ok(Exit::Done)
}
