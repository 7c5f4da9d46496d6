//! `audit`: who looked at the sessions of a site through the replay service, its chain checked.

use std::path::PathBuf;

use reelvault::SiteId;
use reelvault::env::Env;
use reelvault_replay::LogError;
use reelvault_replay::audit::{self, Action, AuditRecord};
use reelvault_replay::config::Config;
use serde::Serialize;

use crate::access::{self, Access};
use crate::exit::{Exit, Failure, Run};
use crate::human;
use crate::output::{self, Column, Out, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault audit shop.example --config serve/serve.toml
  reelvault audit shop.example --state serve/state --json

Records are chained: none can be changed, left out or moved unseen. The digest
at the end is that of the last one: keep it, and you can prove later that none
was cut off. Each instance of the service keeps a log of its own.";

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site
    site: SiteId,
    /// The service's configuration, which says where its state is
    #[arg(long, value_name = "FILE", env = "REELVAULT_SERVE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The service's folder of state; stands above the configuration
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    records: Vec<AuditRecord>,
    digest: String,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let state = match (&args.state, &args.config) {
        (Some(state), _) => state.clone(),
        (None, Some(config)) => Config::load(config)?.state,
        (None, None) => {
            return Err(Failure::usage(
                "where is the service's log?",
                "Name its configuration with --config or REELVAULT_SERVE_CONFIG, or its folder \
                 with --state.",
            ));
        }
    };
    let site = access::site(&access.read()?, &args.site)?;
    let mut records = Vec::new();
    let read = audit::read_all(&Env::real(), &state, &site, |record| records.push(record));
    let digest: String = match &read {
        Ok(digest) => digest.iter().map(|b| format!("{b:02x}")).collect(),
        // What stands before the damage is shown all the same.
        Err(LogError::Damaged(_)) => String::new(),
        Err(_) => return Err(failure(read.err())),
    };
    if out.is_json() {
        out.document(&Body { site: args.site.as_str(), records, digest })?;
    } else {
        print(&records, &digest, out)?;
    }
    match read {
        Ok(_) => Ok(Exit::Done),
        Err(e) => Err(failure(Some(e))),
    }
}

fn failure(error: Option<LogError>) -> Failure {
    match error {
        Some(LogError::Store(e)) => e.into(),
        Some(LogError::Io(e)) => Failure::io("reading the audit log", &e),
        Some(e @ LogError::Damaged(_)) => Failure::new(
            Exit::Corrupt,
            e.to_string(),
            "A record was changed, or one is missing. What comes before it is as it was written.",
        ),
        other => Failure::new(Exit::Failed, other.map(|e| e.to_string()).unwrap_or_default(), ""),
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::View => "view",
        Action::Export => "export",
        Action::Erase => "erase",
        Action::Hold => "hold",
        Action::Release => "release",
        Action::Audit => "audit",
        Action::Denied => "denied",
    }
}

fn print(records: &[AuditRecord], digest: &str, out: &mut Out) -> Run<()> {
    if records.is_empty() {
        output::note("nothing was recorded at this site");
        return Ok(());
    }
    let column = |title, shorten| Column { title, right: false, shorten };
    let columns = [
        column("time", false),
        column("action", false),
        column("outcome", false),
        column("address", false),
        column("who", true),
        column("session", true),
    ];
    let row = |r: &AuditRecord| {
        vec![
            human::time(r.at_ms),
            action(r.action).to_owned(),
            human::plain(&r.outcome),
            human::plain(&r.address),
            human::plain(&r.who),
            r.session.as_deref().map(human::plain).unwrap_or_default(),
        ]
    };
    let rows = records.iter().map(row).collect();
    out.line(table(&columns, rows, &mut Vec::new(), true))?;
    if !digest.is_empty() {
        out.line(format_args!("digest of the last record: {digest}"))?;
    }
    Ok(())
}
