//! What an import counts, and what it could not take.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Refusals that are told one by one; all are counted.
const LISTED_MAX: usize = 200;

/// Figures of an import, of one file or of all.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Files read to their end.
    pub(crate) files: u64,
    /// Files in directories that hold something else.
    pub(crate) skipped_files: u64,
    /// Sessions met.
    pub(crate) sessions: u64,
    /// Chunks appended.
    pub(crate) chunks: u64,
    /// Chunks that were there already.
    pub(crate) duplicates: u64,
    /// Events in the chunks appended.
    pub(crate) events: u64,
    /// Their bytes.
    pub(crate) raw_bytes: u64,
    /// What they take in journals.
    pub(crate) stored_bytes: u64,
    /// Lines, or events of an array, that were refused.
    pub(crate) refused_lines: u64,
    /// Where and why.
    pub(crate) refused: Vec<Refusal>,
    #[serde(skip)]
    seen: HashSet<u64>,
}

/// Input that was not taken.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line it begins in; 0 for the file as a whole.
    pub(crate) line: u64,
    /// How many lines.
    pub(crate) lines: u64,
    /// Why.
    pub(crate) why: String,
}

impl Tally {
    /// Counts a session, once.
    pub(crate) fn session(&mut self, key: u64) {
        if self.seen.insert(key) {
            self.sessions += 1;
        }
    }

    /// Notes that lines are refused. A reason that goes on from the line before is told once.
    pub(crate) fn refuse(&mut self, file: &Path, line: u64, lines: u64, why: String) {
        self.refused_lines += lines;
        if let Some(last) = self.refused.last_mut()
            && last.file == file
            && last.why == why
            && last.line + last.lines == line
        {
            last.lines += lines;
        } else if self.refused.len() < LISTED_MAX {
            self.refused.push(Refusal { file: file.to_owned(), line, lines, why });
        }
    }

    /// Adds what another writer counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.skipped_files += other.skipped_files;
        self.chunks += other.chunks;
        self.duplicates += other.duplicates;
        self.events += other.events;
        self.raw_bytes += other.raw_bytes;
        self.stored_bytes += other.stored_bytes;
        self.refused_lines += other.refused_lines;
        other.seen.into_iter().for_each(|key| self.session(key));
        let room = LISTED_MAX.saturating_sub(self.refused.len());
        self.refused.extend(other.refused.into_iter().take(room));
    }

    /// Whether everything was taken.
    pub(crate) fn is_whole(&self) -> bool {
        self.refused_lines == 0 && self.refused.is_empty()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        match (self.line, self.lines) {
            (0, _) => {}
            (line, 0 | 1) => write!(f, ":{line}")?,
            (line, lines) => write!(f, ":{line}-{}", line + lines - 1)?,
        }
        write!(f, ": {}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_follow_each_other_are_one() {
        let mut tally = Tally::default();
        let file = Path::new("a.ndjson");
        tally.refuse(file, 3, 1, "bad".into());
        tally.refuse(file, 4, 2, "bad".into());
        tally.refuse(file, 9, 1, "bad".into());
        let told: Vec<String> = tally.refused.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["a.ndjson:3-5: bad", "a.ndjson:9: bad"]);
        assert_eq!(tally.refused_lines, 4);
        for line in 0..1000 {
            tally.refuse(file, 2 * line + 20, 1, "bad".into());
        }
        assert_eq!((tally.refused.len(), tally.refused_lines), (LISTED_MAX, 1004));
    }
}
