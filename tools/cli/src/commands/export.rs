//! `export`: a site's sessions to a directory of NDJSON files and an index.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reelvault::limits::DAY_MS;
use reelvault::{Order, Query, SessionInfo, Site, SiteId, VisitorId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{replay, sessions};
use crate::access::{self, Access};
use crate::exit::{Exit, Failure, Run, Told};
use crate::human;
use crate::info::{self, Next, PAGE, SessionBody};
use crate::interrupt::Guard;
use crate::output::{self, Out, SCHEMA, to_json};
use crate::progress;
use crate::when::Window;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault export shop.example --out export/ --last 7d
  reelvault export shop.example --out export/ --visitor v-81aa --chunks

What is written is in the clear: keep it accordingly. Files that are there with
the right size are not written again, except with --chunks; so an export that
was interrupted goes on where it was. index.json is written last, and names the
file of each session, and under \"earlier\" those of exports before this one.
Where an id was used again, the file of the session that is exported second has
the day on which it started in its name.";

/// Longest file name before its ending, in bytes; longer ones are cut and told apart by a hash.
const NAME_BYTES_MAX: usize = 160;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site
    site: SiteId,
    /// The directory to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    window: Window,
    /// Only sessions of this visitor
    #[arg(long, value_name = "ID")]
    visitor: Option<VisitorId>,
    /// Write a header line before the events of each chunk, as `import` reads them
    #[arg(long)]
    chunks: bool,
    /// Write files again that are there already
    #[arg(long)]
    again: bool,
}

#[derive(Default, Serialize)]
struct Tally {
    sessions: u64,
    written: u64,
    kept: u64,
    bytes: u64,
    failed: u64,
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    out: &'a Path,
    #[serde(flatten)]
    tally: &'a Tally,
}

#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    #[serde(flatten)]
    session: SessionBody<'a>,
}

/// Of an entry of an index: whose a file is.
#[derive(Deserialize)]
struct Whose {
    file: String,
    id: String,
    start_ms: u64,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    let (from, to) = args.window.range_ms()?;
    let mut query = Query::new().between(from, to).order(Order::OldestFirst).limit(PAGE);
    if let Some(visitor) = &args.visitor {
        query = query.visitor(visitor.clone());
    }
    let site = access::site(&access.read()?, &args.site)?;
    let _guard = Guard::new();
    let mut export = Export::begin(args, &site)?;
    let bar = progress::items();
    bar.set_message("sessions");
    let outcome = info::for_each(&site, &query, |info| {
        bar.inc(1);
        export.session(&info)?;
        Ok(Next::Go)
    });
    bar.finish_and_clear();
    let damage = outcome?;
    let Export { tally, problems, .. } = export.end()?;
    if out.is_json() {
        out.document(&Body { site: args.site.as_str(), out: &args.out, tally: &tally })?;
    } else {
        out.pairs([
            ("sessions", human::count(tally.sessions)),
            (
                "written",
                format!(
                    "{}, {}",
                    human::of(tally.written, "file", "files"),
                    human::bytes(tally.bytes)
                ),
            ),
            ("there before", human::of(tally.kept, "file", "files")),
            ("in", args.out.display().to_string()),
        ])?;
    }
    out.flush()?;
    problems.iter().for_each(output::complain);
    sessions::complain_all(&damage);
    let broken = !damage.is_empty() || problems.iter().any(|told| told.exit == Exit::Corrupt);
    Ok(match (broken, problems.is_empty()) {
        (true, _) => Exit::Corrupt,
        (false, false) => Exit::Partial,
        (false, true) => Exit::Done,
    })
}

/// An export under way.
struct Export<'a> {
    args: &'a Args,
    site: &'a Site,
    index: BufWriter<File>,
    tally: Tally,
    problems: Vec<Told>,
    /// The beginning of an index of this site.
    head: String,
    /// Whose files are, by digests of their names: as the index says that was there, and as they are given now.
    owners: HashMap<u64, Owner>,
}

/// Whose a file is.
struct Owner {
    session: u64,
    /// Whether the index that is being written names the file.
    is_told: bool,
}

impl<'a> Export<'a> {
    fn begin(args: &'a Args, site: &'a Site) -> Run<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&args.out);
        made.map_err(|e| Failure::io(format_args!("making {}", args.out.display()), &e))?;
        let index = create(&args.out.join("index.json.part"))?;
        let name = to_json(&args.site.as_str())?;
        let head = format!(
            "{{\"reelvault\":{SCHEMA},\"command\":\"export\",\"site\":{name},\"sessions\":["
        );
        let owner = |(_, whose): (String, Whose)| {
            let session = digest(&(&*whose.id, whose.start_ms));
            (digest(&*whose.file), Owner { session, is_told: false })
        };
        let owners = entries(&args.out, &head).map(owner).collect();
        let (tally, problems) = (Tally::default(), Vec::new());
        let mut export = Self { args, site, index, tally, problems, head, owners };
        let begun = export.head.clone();
        export.write_index(&begun)?;
        Ok(export)
    }

    fn write_index(&mut self, text: &str) -> Run<()> {
        let path = self.args.out.join("index.json");
        let written = self.index.write_all(text.as_bytes());
        written.map_err(|e| Failure::io(format_args!("writing {}", path.display()), &e))
    }

    /// The name of a session's file, and whether nobody else's is there under it. An id may be used again two days later: then
    /// the day of its start stands behind it, unless the file without it is this session's.
    fn name(&mut self, info: &SessionInfo, session: u64) -> (String, bool) {
        let name = safe_name(info.id.as_str());
        let day = u32::try_from(info.start_ms / DAY_MS).unwrap_or(u32::MAX);
        let (plain, dated) =
            (format!("{name}.ndjson"), format!("{name}@{}.ndjson", human::day(day)));
        let owner = |file: &str| self.owners.get(&digest(file)).map(|owner| owner.session);
        let name = match owner(&plain) {
            Some(of) if of == session => plain,
            None if owner(&dated) != Some(session) => plain,
            _ => dated,
        };
        let is_free = owner(&name).is_none_or(|of| of == session);
        self.owners.insert(digest(&*name), Owner { session, is_told: false });
        (name, is_free)
    }

    fn session(&mut self, info: &SessionInfo) -> Run<()> {
        let session = digest(&(info.id.as_str(), info.start_ms));
        let (name, is_free) = self.name(info, session);
        match self.file(info, &name, is_free) {
            Ok(()) => {}
            // One session that cannot be read does not keep the others back.
            Err(Failure::Told(told)) if matches!(told.exit, Exit::Corrupt | Exit::Failed) => {
                self.tally.failed += 1;
                self.problems.push(told);
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        let comma = if self.tally.sessions > 0 { ",\n" } else { "\n" };
        let entry = to_json(&Entry { file: &name, session: info.into() })?;
        self.tally.sessions += 1;
        self.owners.insert(digest(&*name), Owner { session, is_told: true });
        self.write_index(&format!("{comma}{entry}"))
    }

    /// Writes the file of a session, whole or not at all.
    fn file(&mut self, info: &SessionInfo, name: &str, is_free: bool) -> Run<()> {
        let path = self.args.out.join(name);
        // With header lines the size is not known before, so those files are written anew.
        let there = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == info.raw_bytes);
        if there && is_free && !self.args.again && !self.args.chunks {
            self.tally.kept += 1;
            return Ok(());
        }
        let part = self.args.out.join(format!("{name}.part"));
        let written = (|| {
            let mut file = create(&part)?;
            let mut replay = self.site.replay_listed(info)?;
            replay::write(&mut replay, self.args.chunks.then_some(info), &mut file, failed)?;
            let file = file.into_inner().map_err(|e| failed(e.error()))?;
            let bytes = file.metadata().map_err(|e| failed(&e))?.len();
            file.sync_data().map_err(|e| failed(&e))?;
            fs::rename(&part, &path).map_err(|e| failed(&e))?;
            Ok(bytes)
        })();
        match written {
            Ok(bytes) => {
                self.tally.written += 1;
                self.tally.bytes += bytes;
                Ok(())
            }
            Err(e) => {
                let _ = fs::remove_file(&part);
                Err(e)
            }
        }
    }

    /// Names the files of earlier exports that are there still: without it the next export would not know whose they are.
    fn earlier(&mut self) -> Run<()> {
        let mut comma = "\n";
        for (line, whose) in entries(&self.args.out, &self.head) {
            let is_told = self.owners.get(&digest(&*whose.file)).is_some_and(|o| o.is_told);
            if !is_told && self.args.out.join(&whose.file).is_file() {
                self.write_index(&format!("{comma}{line}"))?;
                comma = ",\n";
            }
        }
        Ok(())
    }

    fn end(mut self) -> Run<Self> {
        self.write_index("\n],\"earlier\":[")?;
        self.earlier()?;
        self.write_index("\n]}\n")?;
        let (part, path) =
            (self.args.out.join("index.json.part"), self.args.out.join("index.json"));
        let failed = |e| Failure::io(format_args!("writing {}", path.display()), &e);
        self.index.flush().map_err(failed)?;
        self.index.get_ref().sync_data().map_err(failed)?;
        fs::rename(&part, &path).map_err(failed)?;
        Ok(self)
    }
}

/// The entries of the index that is there, each on its line as it was written. One of another site, or none, tells nothing.
fn entries(out: &Path, head: &str) -> impl Iterator<Item = (String, Whose)> + use<> {
    let index = File::open(out.join("index.json")).ok();
    let mut lines =
        index.into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    let is_ours = lines.next().is_some_and(|first| first == head);
    lines.take_while(move |_| is_ours).filter_map(|line| {
        let entry = line.strip_suffix(',').unwrap_or(&line).to_owned();
        let whose = serde_json::from_str(&entry).ok()?;
        Some((entry, whose))
    })
}

/// Stands for a name or a session: those of millions would take their room. That two are equal by chance costs a longer name.
fn digest<T: Hash + ?Sized>(what: &T) -> u64 {
    let mut digest = DefaultHasher::new();
    what.hash(&mut digest);
    digest.finish()
}

/// The name of such a file carries the session's id, so the message does not carry the name.
fn failed(cause: &io::Error) -> Failure {
    Failure::io("writing the file of a session", cause)
}

fn create(path: &Path) -> Run<BufWriter<File>> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let dir = path.parent().unwrap_or(path).display();
    opened.map(BufWriter::new).map_err(|e| Failure::io(format_args!("making a file in {dir}"), &e))
}

/// A file name for an id: letters, digits and `._-` as they are, everything else as `%XX`; never hidden, never too long.
fn safe_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    for (i, byte) in id.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if plain && !(i == 0 && byte == b'.') {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() > NAME_BYTES_MAX {
        name.truncate(NAME_BYTES_MAX - 33);
        name.push('~');
        for byte in &Sha256::digest(id)[..16] {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_and_distinct() {
        assert_eq!(safe_name("s-5f3a"), "s-5f3a");
        assert_eq!(safe_name("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(safe_name("a b"), "a%20b");
        assert_ne!(safe_name("a%20b"), safe_name("a b"));
        let long = "é".repeat(64);
        assert!(safe_name(&long).len() <= NAME_BYTES_MAX);
        assert_ne!(safe_name(&long), safe_name(&format!("{}x", "é".repeat(63))));
    }
}
