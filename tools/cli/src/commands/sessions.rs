//! `sessions`: lists the sessions of a site by time.

use reelvault::{Cursor, Error, Order, Page, Query, SessionInfo, SiteId, VisitorId};
use serde::Serialize;

use crate::access::{self, Access};
use crate::exit::{Exit, Failure, Run, Told, tell};
use crate::human;
use crate::info::{PAGE, SessionBody, duration_ms, missing};
use crate::output::{self, Column, ErrorBody, Out, SCHEMA, table, to_json};
use crate::when::Window;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault sessions shop.example
  reelvault sessions shop.example --last 7d --all
  reelvault sessions shop.example --from 2026-11-20 --to 2026-11-21
  reelvault sessions shop.example --visitor v-81aa --oldest-first --json

On a terminal, long ids are shortened to fit. The part that is shown is enough
for show, replay and hold, as long as only one session begins with it; erase,
release, restore and --start need whole ids, which --json has.";

/// Arguments of `sessions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site
    site: SiteId,
    #[command(flatten)]
    window: Window,
    /// Only sessions of this visitor
    #[arg(long, value_name = "ID")]
    visitor: Option<VisitorId>,
    /// Begin with the oldest session
    #[arg(long)]
    oldest_first: bool,
    /// List at most this many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all",
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Go on where an earlier list of the same kind ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<Cursor>,
    /// List all there are
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let query = args.query()?;
    let site = access::site(&access.read()?, &args.site)?;
    let mut list = List::begin(args, out)?;
    let mut query = Some(query);
    let mut next = None;
    let mut outcome = Ok(());
    while let Some(q) = query.take() {
        let page = match site.sessions(&q) {
            Ok(page) => page,
            Err(e) => {
                outcome = Err(Failure::from(e));
                break;
            }
        };
        list.page(&page, out)?;
        next = page.next;
        if let Some(cursor) = next.clone().filter(|_| args.all) {
            query = Some(q.after(cursor));
        }
    }
    list.end(outcome, next, out)
}

impl Args {
    fn query(&self) -> Run<Query> {
        let (from, to) = self.window.range_ms()?;
        let order = if self.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
        let limit = if self.all { PAGE } else { self.limit as usize };
        let mut query = Query::new().between(from, to).order(order).limit(limit);
        if let Some(visitor) = &self.visitor {
            query = query.visitor(visitor.clone());
        }
        if let Some(cursor) = &self.cursor {
            query = query.after(cursor.clone());
        }
        Ok(query)
    }
}

/// A list being printed, page by page, so that a long one takes no memory.
struct List {
    printed: u64,
    damage: Vec<Told>,
    widths: Vec<usize>,
}

#[derive(Serialize)]
struct Head<'a> {
    reelvault: u32,
    command: &'a str,
    site: &'a str,
}

#[derive(Serialize)]
struct Tail {
    next: Option<String>,
    damage: Vec<ErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

const COLUMNS: [Column; 8] = [
    Column { title: "start (UTC)", right: false, shorten: false },
    Column { title: "length", right: true, shorten: false },
    Column { title: "id", right: false, shorten: true },
    Column { title: "visitor", right: false, shorten: true },
    Column { title: "kind", right: false, shorten: false },
    Column { title: "events", right: true, shorten: false },
    Column { title: "size", right: true, shorten: false },
    Column { title: "gaps", right: true, shorten: false },
];

impl List {
    fn begin(args: &Args, out: &mut Out) -> Run<Self> {
        if out.is_json() {
            let head = Head { reelvault: SCHEMA, command: out.command(), site: args.site.as_str() };
            let head = to_json(&head)?;
            // The document is completed by `end`.
            let head = head.strip_suffix('}').unwrap_or(&head);
            write!(out.raw(), "{head},\"sessions\":[").map_err(|e| Failure::output(&e))?;
        }
        Ok(Self { printed: 0, damage: Vec::new(), widths: Vec::new() })
    }

    fn page(&mut self, page: &Page, out: &mut Out) -> Run<()> {
        self.damage.extend(page.damage.iter().map(tell));
        if page.sessions.is_empty() {
            return Ok(());
        }
        if out.is_json() {
            for info in &page.sessions {
                let comma = if self.printed > 0 { "," } else { "" };
                let body = to_json(&SessionBody::from(info))?;
                write!(out.raw(), "{comma}{body}").map_err(|e| Failure::output(&e))?;
                self.printed += 1;
            }
            return Ok(());
        }
        let rows = page.sessions.iter().map(row).collect();
        out.line(table(&COLUMNS, rows, &mut self.widths, self.printed == 0))?;
        self.printed += page.sessions.len() as u64;
        Ok(())
    }

    fn end(self, outcome: Run<()>, next: Option<Cursor>, out: &mut Out) -> Run {
        if out.is_json() {
            let error = match &outcome {
                Err(Failure::Told(told)) => Some(ErrorBody::from(told)),
                _ => None,
            };
            let damage = self.damage.iter().map(ErrorBody::from).collect();
            let tail = to_json(&Tail { next: next.map(|n| n.to_string()), damage, error })?;
            // What `begin` left open.
            let tail = tail.strip_prefix('{').unwrap_or(&tail);
            out.line(format_args!("],{tail}"))?;
        } else if let Some(next) = next {
            out.flush()?;
            output::note(&format!("there are more; add --all, or --cursor {next}"));
        } else if self.printed == 0 && outcome.is_ok() {
            output::note("no sessions in that time");
        }
        outcome?;
        out.flush()?;
        self.damage.iter().for_each(output::complain);
        Ok(if self.damage.is_empty() { Exit::Done } else { Exit::Corrupt })
    }
}

fn row(info: &SessionInfo) -> Vec<String> {
    let gaps = match missing(info) {
        0 => "-".to_owned(),
        n => n.to_string(),
    };
    let held = if info.held { ", held" } else { "" };
    let kind = format!("{}{held}", output::kind_name(info.kind));
    vec![
        human::time(info.start_ms),
        human::duration(duration_ms(info)),
        info.id.to_string(),
        info.visitor.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        kind,
        info.events.to_string(),
        human::bytes(info.raw_bytes),
        gaps,
    ]
}

/// Tells of damage on standard error.
pub(crate) fn complain_all(damage: &[Error]) {
    damage.iter().map(tell).for_each(|told| output::complain(&told));
}
