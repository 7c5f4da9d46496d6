//! `show`: what is known of one session.

use reelvault::{HoldInfo, SessionInfo, SiteId};
use serde::Serialize;

use crate::access::{self, Access};
use crate::commands::hold::HoldBody;
use crate::exit::{Exit, Run};
use crate::human;
use crate::info::{self, SessionBody, duration_ms, missing};
use crate::output::{Out, kind_name};
use crate::when::When;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault show shop.example s-5f3a19
  reelvault show shop.example s-5f3a19 --start 2026-11-22
  reelvault show shop.example s-5f3a19 --json";

/// Snapshots and gaps that are listed one by one.
const LISTED_MAX: usize = 20;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site
    site: SiteId,
    /// The session's id, or the beginning of it
    #[arg(value_name = "SESSION")]
    session: String,
    /// The session of this id that started on the day (UTC) of this time; the id must be whole. Once that day has expired, the
    /// command ends with 15
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<When>,
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    session: SessionBody<'a>,
    snapshots_ms: &'a [u64],
    hold: Option<HoldBody<'a>>,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let site = access::site(&access.read()?, &args.site)?;
    let info = info::find_at(&site, &args.session, args.start)?;
    let ours = |hold: &HoldInfo| hold.session == info.id && hold.start_ms == info.start_ms;
    let hold = match info.held {
        true => site.holds()?.into_iter().find(ours),
        false => None,
    };
    if out.is_json() {
        let (id, snapshots_ms) = (args.site.as_str(), &info.snapshots[..]);
        let hold = hold.as_ref().map(HoldBody::from);
        out.document(&Body { site: id, session: SessionBody::from(&info), snapshots_ms, hold })?;
    } else {
        print(&args.site, &info, hold.as_ref(), out)?;
    }
    Ok(Exit::Done)
}

fn print(site: &SiteId, info: &SessionInfo, hold: Option<&HoldInfo>, out: &mut Out) -> Run<()> {
    let mut pairs = vec![
        ("session", info.id.to_string()),
        ("site", site.to_string()),
        ("kind", kind_name(info.kind).to_owned()),
    ];
    if let Some(visitor) = &info.visitor {
        pairs.push(("visitor", visitor.to_string()));
    }
    let attributes =
        info.attributes.iter().map(|(n, v)| ("attribute", human::plain(&format!("{n} = {v}"))));
    pairs.extend(attributes);
    pairs.extend([
        ("first event", human::time_ms(info.first_ms)),
        ("last event", human::time_ms(info.last_ms)),
        ("length", human::duration(duration_ms(info))),
        (
            "kept",
            format!(
                "{}, until {}",
                human::of(info.retention_days.into(), "day", "days"),
                human::day(info.expiry_day)
            ),
        ),
    ]);
    if let Some(hold) = hold {
        let (since, reason) = (human::time(hold.since_ms), human::plain(&hold.reason));
        pairs.push(("HELD", format!("since {since}, beyond that day: {reason}")));
    }
    pairs.extend([
        ("chunks", human::count(info.chunks.into())),
        ("events", human::count(info.events)),
        ("size", human::bytes(info.raw_bytes)),
        ("on disk", human::bytes(info.stored_bytes)),
        ("stands in", if info.live { "a journal" } else { "segments" }.to_owned()),
        ("gaps", gaps(info)),
        ("snapshots", human::count(info.snapshots.len() as u64)),
    ]);
    let listed = info.snapshots.iter().take(LISTED_MAX);
    pairs.extend(listed.map(|ms| {
        let offset = human::duration(ms.saturating_sub(info.first_ms));
        ("", format!("{}  +{offset}", human::time_ms(*ms)))
    }));
    if info.snapshots.len() > LISTED_MAX {
        pairs.push(("", "... (all of them: --json)".to_owned()));
    }
    out.pairs(pairs)
}

fn gaps(info: &SessionInfo) -> String {
    if info.gaps.is_empty() {
        return "none".to_owned();
    }
    let range = |g: &std::ops::Range<u64>| match g.end - g.start {
        1 => g.start.to_string(),
        _ => format!("{}-{}", g.start, g.end - 1),
    };
    let listed: Vec<String> = info.gaps.iter().take(LISTED_MAX).map(range).collect();
    let more = if info.gaps.len() > LISTED_MAX { ", ..." } else { "" };
    let missing = human::of(missing(info), "chunk", "chunks");
    format!("{missing} missing: {}{more}", listed.join(", "))
}
