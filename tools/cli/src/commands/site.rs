//! `site`: adds, lists and shows sites.

use clap::Subcommand;
use reelvault::{Order, Query, Site, SiteId, SiteInfo};
use serde::Serialize;

use crate::access::{self, Access};
use crate::exit::{Exit, Run};
use crate::human;
use crate::output::{Column, Out, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault site add shop.example --retention 90
  reelvault site add a.example b.example --retention 365
  reelvault site list
  reelvault site show shop.example";

/// Arguments of `site`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add sites: all of them or none
    Add {
        /// 1 to 64 of A-Z a-z 0-9 . _ -
        #[arg(required = true, value_name = "SITE")]
        sites: Vec<SiteId>,
        #[command(flatten)]
        retention: Retention,
    },
    /// List all sites
    List,
    /// Show one site
    Show {
        /// The site
        site: SiteId,
    },
}

/// How long the sessions of a new site are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Retention {
    /// Days for which the sessions of a new site are kept, 1 to 36500
    #[arg(long = "retention", value_name = "DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: u32,
}

#[derive(Serialize)]
struct SiteBody<'a> {
    id: &'a str,
    created_ms: u64,
    retention_days: u32,
}

impl<'a> From<&'a SiteInfo> for SiteBody<'a> {
    fn from(info: &'a SiteInfo) -> Self {
        Self {
            id: info.id.as_str(),
            created_ms: info.created_ms,
            retention_days: info.retention_days,
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    sites: Vec<SiteBody<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    site: SiteBody<'a>,
    first_start_ms: Option<u64>,
    last_start_ms: Option<u64>,
}

impl Args {
    /// The name in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self.what {
            What::Add { .. } => "site add",
            What::List => "site list",
            What::Show { .. } => "site show",
        }
    }
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    match &args.what {
        What::Add { sites, retention } => add(access, sites, retention.days, out),
        What::List => list(access, out),
        What::Show { site } => show(access, site, out),
    }
}

fn add(access: &Access, sites: &[SiteId], days: u32, out: &mut Out) -> Run {
    let store = access.write()?;
    let added = store.add_sites(sites.iter().map(|id| (id.clone(), days)));
    let infos: Vec<SiteInfo> = added?.iter().map(Site::info).collect();
    store.close()?;
    if out.is_json() {
        out.document(&List { sites: infos.iter().map(SiteBody::from).collect() })?;
    } else {
        for info in &infos {
            let kept = human::of(days.into(), "day", "days");
            out.line(format_args!("added {}: sessions are kept {kept}", info.id))?;
        }
    }
    Ok(Exit::Done)
}

fn list(access: &Access, out: &mut Out) -> Run {
    let sites = access.read()?.sites();
    if out.is_json() {
        out.document(&List { sites: sites.iter().map(SiteBody::from).collect() })?;
    } else if sites.is_empty() {
        crate::output::note("no sites yet; add one with: reelvault site add SITE");
    } else {
        let columns = [
            Column { title: "site", right: false, shorten: true },
            Column { title: "kept days", right: true, shorten: false },
            Column { title: "added (UTC)", right: false, shorten: false },
        ];
        let row = |s: &SiteInfo| {
            vec![s.id.to_string(), s.retention_days.to_string(), human::time(s.created_ms)]
        };
        out.line(table(&columns, sites.iter().map(row).collect(), &mut Vec::new(), true))?;
    }
    Ok(Exit::Done)
}

fn show(access: &Access, id: &SiteId, out: &mut Out) -> Run {
    let site = access::site(&access.read()?, id)?;
    let info = site.info();
    let start = |order| -> Run<Option<u64>> {
        let page = site.sessions(&Query::new().order(order).limit(1))?;
        Ok(page.sessions.first().map(|s| s.start_ms))
    };
    let (first, last) = (start(Order::OldestFirst)?, start(Order::NewestFirst)?);
    if out.is_json() {
        let site = SiteBody::from(&info);
        out.document(&Shown { site, first_start_ms: first, last_start_ms: last })?;
    } else {
        let time = |ms: Option<u64>| ms.map_or_else(|| "none yet".to_owned(), human::time);
        out.pairs([
            ("site", info.id.to_string()),
            ("kept", human::of(info.retention_days.into(), "day", "days")),
            ("added", human::time(info.created_ms)),
            ("first session", time(first)),
            ("last session", time(last)),
        ])?;
    }
    Ok(Exit::Done)
}
