//! `keys`: the life of a store's keyring.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use reelvault::{Corruption, Damage, KeyStatus, MirrorState, MirrorStatus, ProviderKind, Suite};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::{self, Access, bucket_url};
use crate::certificate;
use crate::exit::{Exit, Run, Told};
use crate::human::{self, bytes, count};
use crate::output::{self, Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault keys status
  reelvault keys check
  reelvault keys rotate
  reelvault keys mirror add /mnt/c/keyring
  reelvault keys suite aes-256-gcm-siv

Losing every mirror of the keyring, or its key, loses the data for ever.";

/// How often mirrors are looked at that another process is writing.
const ATTEMPTS_MAX: usize = 3;

/// Arguments of `keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the keyring's figures, and whether older copies of it still open
    #[command(after_help = "Examples:\n  reelvault keys status\n  reelvault keys status --json")]
    Status,
    /// Wrap the keyring in a fresh key and destroy the older one: after a key may have been seen
    #[command(after_help = "Examples:\n  reelvault keys rotate\n\nNo data is written again.")]
    Rotate,
    /// Add a mirror of the keyring
    #[command(after_help = "Examples:\n  reelvault keys mirror add /mnt/c/keyring")]
    Mirror {
        #[command(subcommand)]
        what: Mirror,
    },
    /// Check that every mirror of the keyring is whole; ends with 13 if one is not
    #[command(after_help = "Examples:\n  reelvault keys check\n  reelvault keys check --json")]
    Check,
    /// Show the cipher suite of new data, or set it; old data stays as it is, and readable
    #[command(
        after_help = "Examples:\n  reelvault keys suite\n  reelvault keys suite aes-256-gcm-siv"
    )]
    Suite {
        /// The suite for new data
        suite: Option<SuiteName>,
    },
}

#[derive(Debug, Subcommand)]
enum Mirror {
    /// Write the keyring to one more file or bucket, and from then on with every change
    #[command(
        after_help = "Examples:\n  reelvault keys mirror add /mnt/c/keyring\n  reelvault keys mirror \
                      add s3://keys/shop"
    )]
    Add {
        /// The file, which must not exist; best on a disk of its own. Or s3://BUCKET/PREFIX, gs://…,
        /// az://…, with nothing there yet
        file: PathBuf,
    },
}

/// The names of cipher suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SuiteName {
    #[value(name = "aes-256-gcm")]
    Gcm,
    #[value(name = "aes-256-gcm-siv")]
    GcmSiv,
}

impl From<SuiteName> for Suite {
    fn from(name: SuiteName) -> Self {
        match name {
            SuiteName::Gcm => Self::Aes256Gcm,
            SuiteName::GcmSiv => Self::Aes256GcmSiv,
        }
    }
}

fn suite_name(number: u8) -> &'static str {
    match number {
        n if n == Suite::Aes256Gcm as u8 => "aes-256-gcm",
        n if n == Suite::Aes256GcmSiv as u8 => "aes-256-gcm-siv",
        _ => "unknown",
    }
}

impl Args {
    /// The name in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self.what {
            What::Status => "keys status",
            What::Rotate => "keys rotate",
            What::Mirror { what: Mirror::Add { .. } } => "keys mirror add",
            What::Check => "keys check",
            What::Suite { .. } => "keys suite",
        }
    }
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    match &args.what {
        What::Status => status(access, out),
        What::Rotate => rotate(access, out),
        What::Mirror { what: Mirror::Add { file } } => add_mirror(access, file.clone(), out),
        What::Check => check(access, out),
        What::Suite { suite } => set_suite(access, suite.map(Suite::from), out),
    }
}

#[derive(Serialize)]
struct Status<'a> {
    generation: u64,
    provider: &'static str,
    key_version: u32,
    older_copies_open: bool,
    undestroyed_versions: &'a [u32],
    indestructible: Option<&'a str>,
    suite: &'static str,
    sites: u64,
    erased_sites: u64,
    holds: u64,
    deletions: u64,
    expired_through: Option<String>,
    nodes: u64,
    bytes: u64,
}

fn status(access: &Access, out: &mut Out) -> Run {
    let status = access.read()?.key_status()?;
    let provider = match status.provider {
        ProviderKind::KeyFile => "key file",
        ProviderKind::Passphrase => "passphrase",
        ProviderKind::External => "external",
        _ => "other",
    };
    let dead = status.undestroyed.is_empty() && status.indestructible.is_none();
    let expired_through = status.expired_through.map(human::day);
    if out.is_json() {
        out.document(&Status {
            generation: status.generation,
            provider,
            key_version: status.version,
            older_copies_open: !dead,
            undestroyed_versions: &status.undestroyed,
            indestructible: status.indestructible,
            suite: suite_name(status.suite),
            sites: status.sites,
            erased_sites: status.erased_sites,
            holds: status.holds,
            deletions: status.erasures,
            expired_through,
            nodes: status.nodes,
            bytes: status.bytes,
        })?;
    } else {
        let older = if dead { "do not open any more" } else { "STILL OPEN" };
        out.pairs([
            ("keyring", format!("generation {}, {}", status.generation, bytes(status.bytes))),
            ("wrapped by", format!("{provider}, version {} of its key", status.version)),
            ("older copies", older.to_owned()),
            ("new data", suite_name(status.suite).to_owned()),
            ("sites", format!("{}, {} erased", count(status.sites), count(status.erased_sites))),
            ("held", human::of(status.holds, "session", "sessions")),
            ("deletions", count(status.erasures)),
            ("expired to", expired_through.unwrap_or_else(|| "-".to_owned())),
            ("tree nodes", count(status.nodes)),
        ])?;
    }
    out.flush()?;
    warn(&status);
    Ok(Exit::Done)
}

/// Says loudly where older copies of the keyring can still be opened.
fn warn(status: &KeyStatus) {
    let mut texts = Vec::new();
    if let Some(why) = status.indestructible {
        texts.push(format!(
            "OLDER COPIES OF THE KEYRING STILL OPEN, and with them what was erased since: {why}. \
             Keep the mirrors out of all backups, destroy old copies of them by hand, or use a key \
             file."
        ));
    }
    if !status.undestroyed.is_empty() {
        let versions: Vec<String> = status.undestroyed.iter().map(u32::to_string).collect();
        let versions = versions.join(", ");
        texts.push(format!(
            "OLDER COPIES OF THE KEYRING STILL OPEN, and with them what was erased since: the key \
             provider still holds version {versions} of its key. The next change of the keyring tries to \
             destroy it again; to try now: reelvault keys rotate"
        ));
    }
    for line in texts.iter().flat_map(|text| human::wrap(text, 68)) {
        output::note(&line);
    }
}

#[derive(Serialize)]
struct Rotated {
    certificate: Box<RawValue>,
}

fn rotate(access: &Access, out: &mut Out) -> Run {
    let store = access.write()?;
    let certificate = store.rotate_keys()?;
    store.close()?;
    if out.is_json() {
        out.document(&Rotated { certificate: certificate::raw(&certificate)? })?;
    } else {
        let what = ("rotated", "the keyring is wrapped in a fresh key".to_owned());
        out.pairs([what].into_iter().chain(certificate::pairs(&certificate)))?;
    }
    out.flush()?;
    certificate::warn(&certificate);
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Added {
    added: PathBuf,
    keyring: Vec<PathBuf>,
}

fn add_mirror(access: &Access, file: PathBuf, out: &mut Out) -> Run {
    let store = access.write()?;
    match bucket_url(&file) {
        Some(url) => store.add_mirror_in(access::place(url)?)?,
        None => store.add_mirror(&file)?,
    }
    store.close()?;
    let keyring = access.mirrors.iter().cloned().chain([file.clone()]).collect();
    if out.is_json() {
        out.document(&Added { added: file, keyring })?;
    } else {
        out.pairs(keyring.iter().map(|m: &PathBuf| ("keyring", m.display().to_string())))?;
    }
    out.flush()?;
    let text = "NAME ALL OF THEM FROM NOW ON, with --keyring or REELVAULT_KEYRING, whenever the \
                store is opened: a mirror that is not named is not kept up to date.";
    human::wrap(text, 68).iter().for_each(|line| output::note(line));
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Checked<'a> {
    whole: bool,
    mirrors: Vec<MirrorBody<'a>>,
}

#[derive(Serialize)]
struct MirrorBody<'a> {
    path: &'a std::path::Path,
    state: &'static str,
    generation: Option<u64>,
    message: String,
}

impl<'a> From<&'a MirrorStatus> for MirrorBody<'a> {
    fn from(mirror: &'a MirrorStatus) -> Self {
        let (state, generation, message) = match mirror.state {
            MirrorState::Whole => ("whole", None, "whole".to_owned()),
            MirrorState::Missing => ("missing", None, "MISSING".to_owned()),
            MirrorState::Behind { generation, opens } => {
                let opens = if opens { "STILL OPENS" } else { "does not open" };
                let message = format!("BEHIND: generation {generation}, which {opens}");
                ("behind", Some(generation), message)
            }
            MirrorState::Ahead { generation } => {
                ("ahead", Some(generation), format!("AHEAD: generation {generation}"))
            }
            MirrorState::Damaged(kind) => ("damaged", None, format!("DAMAGED: {}", cause(kind))),
            MirrorState::Unreadable(kind) => ("unreadable", None, format!("UNREADABLE: {kind}")),
            _ => ("other", None, "NOT WHOLE".to_owned()),
        };
        Self { path: &mirror.path, state, generation, message }
    }
}

/// The kind of damage in words.
fn cause(kind: Damage) -> String {
    let place = Corruption { file: String::new(), offset: 0, site: None, kind };
    let text = place.to_string();
    text.split_once(": ").map_or_else(|| text.clone(), |(_, cause)| cause.to_owned())
}

fn check(access: &Access, out: &mut Out) -> Run {
    let whole = |m: &MirrorStatus| m.state == MirrorState::Whole;
    // Opened for writing, the store would mend them before they are looked at.
    let mut mirrors = access.read()?.check_mirrors();
    for _ in 1..ATTEMPTS_MAX {
        if mirrors.iter().all(whole) {
            break;
        }
        mirrors = access.read()?.check_mirrors();
    }
    let sound = mirrors.iter().all(whole);
    let bodies: Vec<MirrorBody<'_>> = mirrors.iter().map(MirrorBody::from).collect();
    if out.is_json() {
        out.document(&Checked { whole: sound, mirrors: bodies })?;
    } else {
        for body in &bodies {
            out.line(format_args!("{}  {}", body.path.display(), body.message))?;
        }
    }
    out.flush()?;
    if sound {
        return Ok(Exit::Done);
    }
    let bad = mirrors.iter().filter(|m| !whole(m)).count() as u64;
    output::complain(&Told {
        exit: Exit::Corrupt,
        what: format!("{} not whole", human::of(bad, "mirror is", "mirrors are")),
        help: "Look at the disk it lies on. What is missing, behind or damaged is written again, \
               out of a whole one, with the next change of the keyring; to do it now: reelvault \
               keys rotate. A file that is none of a keyring is not overwritten: move it away."
            .to_owned(),
    });
    Ok(Exit::Corrupt)
}

#[derive(Serialize)]
struct Sealed {
    suite: &'static str,
}

fn set_suite(access: &Access, suite: Option<Suite>, out: &mut Out) -> Run {
    let suite = match suite {
        None => access.read()?.cipher_suite(),
        Some(suite) => {
            let store = access.write()?;
            store.set_cipher_suite(suite)?;
            store.close()?;
            suite
        }
    };
    let suite = suite_name(suite as u8);
    if out.is_json() {
        out.document(&Sealed { suite })?;
    } else {
        out.pairs([("new data", suite.to_owned())])?;
    }
    Ok(Exit::Done)
}
