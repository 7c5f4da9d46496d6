//! Which files are to be imported, what is in each, and into which site it goes.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use reelvault::SiteId;

use super::formats::{self, Format};
use super::source;
use super::tally::Tally;
use crate::exit::{Exit, Failure, Run};
use crate::interrupt;

/// Endings that say nothing of a session's name.
const ENDINGS: [&str; 10] =
    [".zst", ".gz", ".json", ".ndjson", ".jsonl", ".chunks", ".events", ".chat", ".rrweb", ".txt"];
/// Endings of files that are expected to hold recordings.
const RECORDINGS: [&str; 2] = [".ndjson", ".jsonl"];

/// How files find their site.
pub(crate) enum Into {
    /// All into this one.
    Site(SiteId),
    /// Each into the site that its directory is named after.
    Directory,
}

/// A file to import.
pub(crate) struct Item {
    pub(crate) path: PathBuf,
    pub(crate) site: SiteId,
    pub(crate) format: Format,
    /// Its name without endings: the session's id, where the content names none.
    pub(crate) name: String,
}

/// All of them, with what was put aside.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) items: Vec<Item>,
    /// Their bytes.
    pub(crate) bytes: u64,
    pub(crate) tally: Tally,
    /// Files and sessions that are taken: two files would mix in one session.
    sessions: HashSet<(SiteId, String)>,
    seen: HashSet<PathBuf>,
}

impl Plan {
    /// Looks at files and, recursively, at directories.
    pub(crate) fn make(paths: &[PathBuf], into: &Into) -> Run<Self> {
        let mut plan = Self::default();
        for path in paths {
            let meta = fs::metadata(path).map_err(|e| cannot_read(path, &e))?;
            if meta.is_dir() {
                plan.directory(path, into)?;
            } else {
                plan.file(path, meta.len(), into, true)?;
            }
        }
        Ok(plan)
    }

    /// The sites that files go into.
    pub(crate) fn sites(&self) -> HashSet<SiteId> {
        self.items.iter().map(|item| item.site.clone()).collect()
    }

    fn directory(&mut self, dir: &Path, into: &Into) -> Run<()> {
        let failed = |e| cannot_read(dir, &e);
        let entries = fs::read_dir(dir).map_err(failed)?;
        let mut entries = entries.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // A link to a directory could lead in a circle.
            if entry.file_type().map_err(failed)?.is_dir() {
                self.directory(&path, into)?;
            } else if let Ok(meta) = fs::metadata(&path)
                && meta.is_file()
            {
                self.file(&path, meta.len(), into, false)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, bytes: u64, into: &Into, named: bool) -> Run<()> {
        interrupt::check()?;
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let found = source::open(path, &ProgressBar::hidden()).and_then(formats::detect);
        let format = match found {
            Ok(Some(format)) => format,
            Ok(None) if named || is_recording(path) => {
                self.tally.refuse(path, 0, 0, "it holds no recording".into());
                return Ok(());
            }
            Ok(None) => {
                self.tally.skipped_files += 1;
                return Ok(());
            }
            Err(e) => {
                self.tally.refuse(path, 0, 0, format!("it cannot be read: {e}"));
                return Ok(());
            }
        };
        let site = match into {
            Into::Site(site) => site.clone(),
            Into::Directory => match site_of(path) {
                Some(site) => site,
                None => {
                    let why = "its directory's name cannot be that of a site";
                    self.tally.refuse(path, 0, 0, why.into());
                    return Ok(());
                }
            },
        };
        let name = session_name(path);
        let by_name = matches!(format, Format::Array | Format::Events);
        if by_name && !self.sessions.insert((site.clone(), name.clone())) {
            let why = "another file makes a session of the same name";
            self.tally.refuse(path, 0, 0, why.into());
            return Ok(());
        }
        self.bytes += bytes;
        self.items.push(Item { path: path.to_owned(), site, format, name });
        Ok(())
    }
}

fn cannot_read(path: &Path, cause: &io::Error) -> Failure {
    let what = format!("reading {}: {cause}", path.display());
    Failure::new(Exit::Failed, what, "Nothing was imported.")
}

fn is_recording(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let name = name.trim_end_matches(".zst").trim_end_matches(".gz");
    RECORDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The site that the directory of a file is named after.
fn site_of(path: &Path) -> Option<SiteId> {
    let path = std::path::absolute(path).ok()?;
    SiteId::new(path.parent()?.file_name()?.to_str()?).ok()
}

/// A file's name without the endings that say what is in it.
fn session_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut name: &str = &name;
    while let Some(shorter) = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) {
        if shorter.is_empty() {
            break;
        }
        name = shorter;
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_file_without_endings() {
        let name = |path: &str| session_name(Path::new(path));
        assert_eq!(name("a/s-1.chunks.ndjson.zst"), "s-1");
        assert_eq!(name("s-1.json"), "s-1");
        assert_eq!(name("v1.2.json.gz"), "v1.2");
        assert_eq!(name(".json"), ".json");
        assert_eq!(name("plain"), "plain");
    }

    #[test]
    fn a_site_is_named_by_a_directory() {
        let site = |path: &str| site_of(Path::new(path)).map(|s| s.to_string());
        assert_eq!(site("/x/shop.example/s.json").as_deref(), Some("shop.example"));
        assert_eq!(site("/x/my shop/s.json"), None);
        assert_eq!(site("/s.json"), None);
    }
}
