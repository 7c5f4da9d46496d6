//! `deletions`: the log of what was deleted, and its certificates.

use std::collections::HashMap;

use reelvault::retention::{Certificate, Deed};
use reelvault::{Deletions, SiteHandle, SiteId, Store};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::Access;
use crate::certificate;
use crate::exit::{Exit, Failure, Run, Told, tell};
use crate::human;
use crate::output::{self, Column, ErrorBody, Out, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault deletions
  reelvault deletions --json
  reelvault deletions --number 7 > certificate-7.json

Each deletion names the digest of the one before. A site is named as long as it
is there; a certificate names nobody. Not final means that older copies of the
keyring may still open: reelvault keys status.";

/// How often a log that grows while it is read is read again.
const ATTEMPTS_MAX: usize = 3;

/// Arguments of `deletions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the certificate of this number, as JSON
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    deletions: Vec<DeletionBody<'a>>,
    damage: Vec<ErrorBody>,
}

#[derive(Serialize)]
struct DeletionBody<'a> {
    number: u64,
    at_ms: u64,
    deed: &'static str,
    /// The name of the site, if it is still there.
    site: Option<&'a str>,
    site_handle: Option<String>,
    /// Up to this day everything that was to be kept until then is gone.
    through: Option<String>,
    sessions: Option<usize>,
    keyring_before: u64,
    keyring_after: u64,
    r#final: bool,
}

#[derive(Serialize)]
struct One {
    certificate: Box<RawValue>,
}

/// The log as it is, also while another process deletes.
pub(crate) fn read(store: &Store) -> Run<Deletions> {
    let mut read = store.deletions()?;
    for _ in 1..ATTEMPTS_MAX {
        if read.damage.is_empty() {
            break;
        }
        store.refresh()?;
        read = store.deletions()?;
    }
    Ok(read)
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let store = access.read()?;
    let Deletions { certificates, damage } = read(&store)?;
    match args.number {
        Some(number) => print_one(&certificates, number, damage.is_empty(), out)?,
        None => print_all(&store, &certificates, &damage, out)?,
    }
    out.flush()?;
    if damage.is_empty() {
        return Ok(Exit::Done);
    }
    for error in &damage {
        output::complain(&Told { help: String::new(), ..tell(error) });
    }
    output::complain(&Told {
        exit: Exit::Corrupt,
        what: "the log of deletions is damaged".to_owned(),
        help: "What was deleted stays deleted; its proof has suffered. Copy the store away before \
               anything else, then see all the damage with: reelvault verify"
            .to_owned(),
    });
    Ok(Exit::Corrupt)
}

fn print_one(certificates: &[Certificate], number: u64, whole: bool, out: &mut Out) -> Run<()> {
    let found = certificates.iter().find(|c| c.statement.number == number);
    let found = found.ok_or_else(|| {
        let (exit, help) = match whole {
            true => (Exit::Failed, "See their numbers with: reelvault deletions"),
            false => (Exit::Corrupt, "The log is damaged. See how with: reelvault deletions"),
        };
        Failure::new(exit, format!("no deletion has the number {number}"), help)
    })?;
    if out.is_json() {
        out.document(&One { certificate: certificate::raw(found)? })
    } else {
        out.line(found.to_json())
    }
}

fn print_all(
    store: &Store,
    certificates: &[Certificate],
    damage: &[reelvault::Error],
    out: &mut Out,
) -> Run<()> {
    let mut names: HashMap<SiteHandle, SiteId> = HashMap::new();
    for info in store.sites() {
        names.insert(store.site(&info.id)?.handle(), info.id);
    }
    if out.is_json() {
        return out.document(&Body {
            deletions: certificates.iter().map(|c| body(c, &names)).collect(),
            damage: damage.iter().map(|e| ErrorBody::from(&tell(e))).collect(),
        });
    }
    if certificates.is_empty() {
        if damage.is_empty() {
            output::note("nothing was deleted yet");
        }
        return Ok(());
    }
    let columns = [
        Column { title: "number", right: true, shorten: false },
        Column { title: "time (UTC)", right: false, shorten: false },
        Column { title: "what", right: false, shorten: false },
        Column { title: "site", right: false, shorten: true },
        Column { title: "sessions", right: true, shorten: false },
        Column { title: "keyring", right: true, shorten: false },
        Column { title: "final", right: false, shorten: false },
    ];
    let rows = certificates.iter().map(|c| row(c, &names)).collect();
    out.line(table(&columns, rows, &mut Vec::new(), true))
}

/// How many sessions a deed names; of a site and of a day nobody counts them.
fn sessions(deed: &Deed) -> Option<usize> {
    match deed {
        Deed::ErasedSite { .. } | Deed::Expired { .. } | Deed::RotatedKeys => None,
        _ => Some(deed.sessions().len()),
    }
}

fn through(deed: &Deed) -> Option<String> {
    match deed {
        Deed::Expired { through } => Some(human::day(*through)),
        _ => None,
    }
}

fn body<'a>(of: &Certificate, names: &'a HashMap<SiteHandle, SiteId>) -> DeletionBody<'a> {
    let Certificate { statement, .. } = of;
    let site = statement.deed.site();
    DeletionBody {
        number: statement.number,
        at_ms: statement.at_ms,
        deed: statement.deed.name(),
        site: site.and_then(|handle| names.get(&handle)).map(SiteId::as_str),
        site_handle: site.map(|handle| handle.to_string()),
        through: through(&statement.deed),
        sessions: sessions(&statement.deed),
        keyring_before: statement.before,
        keyring_after: statement.after,
        r#final: of.is_final(),
    }
}

fn row(of: &Certificate, names: &HashMap<SiteHandle, SiteId>) -> Vec<String> {
    let dash = || "-".to_owned();
    let body = body(of, names);
    let what = match &body.through {
        Some(day) => format!("{} to {day}", body.deed),
        None => body.deed.to_owned(),
    };
    let site = match (body.site, &body.site_handle) {
        (Some(name), _) => name.to_owned(),
        (None, Some(handle)) => format!("({handle})"),
        (None, None) => dash(),
    };
    vec![
        body.number.to_string(),
        human::time(body.at_ms),
        what,
        site,
        body.sessions.map_or_else(dash, |n| n.to_string()),
        format!("{} to {}", body.keyring_before, body.keyring_after),
        if body.r#final { "yes" } else { "NO" }.to_owned(),
    ]
}
