//! `erase`: sessions, visitors and sites, in the store and in every copy of it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use reelvault::{Erasure, Held, SessionId, SiteId, VisitorId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::{self, Access};
use crate::certificate::{self, Kept};
use crate::commands::sessions::complain_all;
use crate::exit::{Exit, Failure, Run, Told};
use crate::human;
use crate::output::{self, Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault erase session shop.example s-5f3a19c2 s-77e0d1b4
  reelvault erase session shop.example --from-file ids.txt
  reelvault erase visitor shop.example v-81aa --certificate proof.json
  reelvault erase site shop.example

It cannot be taken back. When the command returns, nobody can read what was
erased: not here, and not in any copy of the store or of its keyring. Ids must
be whole. With a file of ids, all of them are one change of the keyring.

The certificate says what was erased, by names that tell nobody who it was. It
stays in the store: reelvault deletions.";

/// Longest line of a file of ids in bytes: far above the longest id.
const LINE_BYTES_MAX: u64 = 4096;

/// Arguments of `erase`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Erase sessions, by their whole ids
    #[command(after_help = SESSION_EXAMPLES)]
    Session {
        /// The site
        site: SiteId,
        /// The whole ids of the sessions; shortened ones are not accepted
        #[arg(value_name = "SESSION", required_unless_present = "from_file")]
        sessions: Vec<SessionId>,
        /// A file with more ids, one a line; - for standard input
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Erase all sessions of a visitor at a site
    #[command(after_help = VISITOR_EXAMPLES)]
    Visitor {
        /// The site
        site: SiteId,
        /// The whole id of the visitor
        #[arg(value_name = "VISITOR")]
        visitor: VisitorId,
        #[command(flatten)]
        how: How,
    },
    /// Erase a site with all its sessions, its keys and its name
    #[command(after_help = SITE_EXAMPLES)]
    Site {
        /// The site
        site: SiteId,
        #[command(flatten)]
        how: How,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const SESSION_EXAMPLES: &str = "\
Examples:
  reelvault erase session shop.example s-5f3a19c2
  reelvault erase session shop.example --from-file ids.txt --held
  reelvault erase session shop.example s-5f3a19c2 --certificate proof.json";

const VISITOR_EXAMPLES: &str = "\
Examples:
  reelvault erase visitor shop.example v-81aa
  reelvault erase visitor shop.example v-81aa --certificate proof.json";

const SITE_EXAMPLES: &str = "\
Examples:
  reelvault erase site shop.example
  reelvault erase site shop.example --yes --certificate proof.json

On a terminal it asks for the site's name; elsewhere it needs --yes.";

/// How to erase.
#[derive(Debug, clap::Args)]
struct How {
    /// Erase sessions that are held too; their holds end
    #[arg(long)]
    held: bool,
    /// Write the certificate to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

impl How {
    fn held(&self) -> Held {
        if self.held { Held::Erase } else { Held::Refuse }
    }

    fn file(&self) -> Run<Option<Kept>> {
        self.certificate.as_deref().map(Kept::create).transpose()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    /// Sessions that were erased; of a site it is not counted.
    sessions: Option<usize>,
    already_erased: usize,
    unknown: Vec<&'a str>,
    certificate: Option<Box<RawValue>>,
}

impl Args {
    /// The name in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self.what {
            What::Session { .. } => "erase session",
            What::Visitor { .. } => "erase visitor",
            What::Site { .. } => "erase site",
        }
    }
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    match &args.what {
        What::Session { site, sessions, from_file, how } => {
            // One that is named twice is not missing the second time.
            let mut ids: BTreeSet<SessionId> = sessions.iter().cloned().collect();
            if let Some(path) = from_file {
                read_ids(path, &mut ids)?;
            }
            let store = access.write()?;
            let of = access::site(&store, site)?;
            let kept = how.file()?;
            let erasure = of.erase_sessions(ids, how.held())?;
            drop(of);
            let outcome = conclude(site, erasure, kept, Named::Sessions, out);
            store.close()?;
            outcome
        }
        What::Visitor { site, visitor, how } => {
            let store = access.write()?;
            let of = access::site(&store, site)?;
            let kept = how.file()?;
            let erasure = of.erase_visitor(visitor, how.held())?;
            drop(of);
            let outcome = conclude(site, erasure, kept, Named::Visitor, out);
            store.close()?;
            outcome
        }
        What::Site { site, how, yes } => erase_site(access, site, how, *yes, out),
    }
}

fn erase_site(access: &Access, site: &SiteId, how: &How, yes: bool, out: &mut Out) -> Run {
    // Before asking: whoever has typed the name wants no other question.
    access::site(&access.read()?, site)?;
    if !yes {
        confirm(site)?;
    }
    let store = access.write()?;
    let kept = how.file()?;
    let certificate = store.erase_site(site, how.held())?;
    store.close()?;
    if let Some(kept) = kept {
        kept.write(&certificate)?;
    }
    if out.is_json() {
        let raw = certificate::raw(&certificate)?;
        let site = site.as_str();
        out.document(&Body {
            site,
            sessions: None,
            already_erased: 0,
            unknown: Vec::new(),
            certificate: Some(raw),
        })?;
    } else {
        let what = ("erased", format!("the site {site}, with all its sessions"));
        out.pairs([what].into_iter().chain(certificate::pairs(&certificate)))?;
    }
    out.flush()?;
    certificate::warn(&certificate);
    Ok(Exit::Done)
}

/// Asks for the site's name, so that nobody erases the wrong one with a key pressed too soon.
fn confirm(site: &SiteId) -> Run<()> {
    let (input, question) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() || !question.is_terminal() {
        return Err(Failure::usage(
            format!("erasing the site {site} needs a confirmation; nothing was erased"),
            "It cannot be taken back. Without a terminal, confirm it with --yes.",
        ));
    }
    let failed = |e| Failure::io("asking for a confirmation", &e);
    let text = format!(
        "This erases {site} with all its sessions, here and in every copy, for ever.\n\
         Type the site's name to go on: "
    );
    (&question).write_all(text.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    input.lock().take(LINE_BYTES_MAX).read_line(&mut line).map_err(failed)?;
    if line.trim() == site.as_str() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "that is not the site's name; nothing was erased", ""))
}

/// What was named, for what is told if nothing of it is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Sessions,
    Visitor,
}

fn conclude(
    site: &SiteId,
    erasure: Erasure,
    kept: Option<Kept>,
    named: Named,
    out: &mut Out,
) -> Run {
    let certificate = erasure.certificate.as_ref();
    if let (Some(kept), Some(certificate)) = (kept, certificate) {
        kept.write(certificate)?;
    }
    if certificate.is_none() && erasure.damage.is_empty() {
        nothing(&erasure, named)?;
    }
    if out.is_json() {
        out.document(&Body {
            site: site.as_str(),
            sessions: Some(erasure.sessions),
            already_erased: erasure.already,
            unknown: erasure.unknown.iter().map(SessionId::as_str).collect(),
            certificate: certificate.map(certificate::raw).transpose()?,
        })?;
    } else {
        print(&erasure, out)?;
    }
    out.flush()?;
    if let Some(certificate) = certificate {
        certificate::warn(certificate);
    }
    warn(&erasure)
}

/// The failure to find anything to erase. What was erased before is as it was asked for.
fn nothing(erasure: &Erasure, named: Named) -> Run<()> {
    match named {
        Named::Visitor => Err(Failure::new(
            Exit::Failed,
            "no session of this visitor at this site; nothing was erased",
            "Ids must be whole. The visitor may have been erased before, or not have been here. \
             See what was erased with: reelvault deletions",
        )),
        Named::Sessions if erasure.already == 0 => Err(Failure::new(
            Exit::Failed,
            "no such session at this site; nothing was erased",
            "Ids must be whole, for erasing cannot be taken back. See them with: reelvault \
             sessions SITE --all --json",
        )),
        Named::Sessions => Ok(()),
    }
}

fn print(erasure: &Erasure, out: &mut Out) -> Run<()> {
    let mut pairs = vec![("erased", human::of(erasure.sessions as u64, "session", "sessions"))];
    if erasure.already > 0 {
        pairs.push(("erased before", human::count(erasure.already as u64)));
    }
    pairs.extend(erasure.certificate.iter().flat_map(certificate::pairs));
    pairs.extend(erasure.unknown.iter().map(|id| ("NOT FOUND", id.to_string())));
    out.pairs(pairs)
}

/// Tells what was left undone, and how to end.
fn warn(erasure: &Erasure) -> Run {
    if erasure.certificate.is_none() {
        output::note(
            "nothing was left to erase, so there is no certificate; see: reelvault deletions",
        );
    }
    complain_all(&erasure.damage);
    if !erasure.damage.is_empty() {
        output::complain(&Told {
            exit: Exit::Corrupt,
            what: "sessions may have been missed: an index could not be read".to_owned(),
            help: "Mend the damage, then repeat the command.".to_owned(),
        });
        return Ok(Exit::Corrupt);
    }
    if erasure.unknown.is_empty() {
        return Ok(Exit::Done);
    }
    let ids = human::of(erasure.unknown.len() as u64, "id names", "ids name");
    output::complain(&Told {
        exit: Exit::Partial,
        what: format!("{ids} no session of this site; the others are erased"),
        help: "Ids must be whole. See them with: reelvault sessions SITE --all --json".to_owned(),
    });
    Ok(Exit::Partial)
}

/// Reads ids, one a line; empty lines are passed over.
fn read_ids(path: &Path, ids: &mut BTreeSet<SessionId>) -> Run<()> {
    let failed = |e| Failure::io(format_args!("reading the ids in {}", path.display()), &e);
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            break;
        }
        // The id itself is a customer's data, and stands in no message.
        let bad = || {
            let what = format!("line {number} of {} is no session id", path.display());
            Failure::usage(
                what,
                format!("{}. Nothing was erased.", reelvault::InputError::SessionId),
            )
        };
        let text = std::str::from_utf8(&line).map_err(|_| bad())?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if !text.is_empty() {
            ids.insert(SessionId::new(text).map_err(|_| bad())?);
        }
    }
    Ok(())
}
