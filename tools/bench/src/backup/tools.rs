//! What is compared: a plain copy, this engine, restic and borg.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use reelvault::Options;
use reelvault::backup::{Backup, DirPlace, How, ReadShare, Repository, What};
use reelvault::env::Env;

use super::{ON, undamaged};
use crate::{BenchError, Place, Result};

/// Where restores go.
const RESTORED: &str = "restored";

/// One tool's times in seconds, a value a round.
#[derive(Default)]
pub(super) struct Times {
    /// Of plain copies, each right before the next one here.
    pub(super) copy: Vec<f64>,
    pub(super) first: Vec<f64>,
    pub(super) unchanged: Vec<f64>,
    pub(super) check: Vec<f64>,
    pub(super) copy_back: Vec<f64>,
    pub(super) restore: Vec<f64>,
}

/// What a round does with each tool.
pub(super) trait Tried {
    fn first(&self) -> Result<()>;
    fn unchanged(&self) -> Result<()>;
    fn check(&self) -> Result<()>;
    fn restore(&self) -> Result<()>;
    fn clear(&self);
    fn folder(&self) -> PathBuf;
}

impl Times {
    /// A round with one tool. Of `tries` first backups and restores, and of a plain copy before each of them, the fastest counts.
    pub(super) fn round(&mut self, tool: &dyn Tried, place: &Place, tries: usize) -> Result<()> {
        let (mut copied, mut first) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..tries {
            tool.clear();
            copied = copied.min(copy(place, &place.0.join("store"))?);
            first = first.min(timed(|| tool.first())?);
        }
        self.copy.push(copied);
        self.first.push(first);
        self.unchanged.push(timed(|| tool.unchanged())?);
        // What was written past the cache is read into it, as it is for the others.
        copy(place, &tool.folder())?;
        self.check.push(timed(|| tool.check())?);
        let (mut copied, mut restored) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..tries {
            remove(&place.0.join(RESTORED));
            copied = copied.min(copy(place, &tool.folder())?);
            restored = restored.min(timed(|| tool.restore())?);
        }
        self.copy_back.push(copied);
        self.restore.push(restored);
        tool.clear();
        Ok(())
    }
}

/// Seconds of some work, with nothing of earlier work left to be written.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    run(Command::new("sync"))?;
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn run(mut command: Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(BenchError::Child("of a comparison")),
    }
}

/// Seconds to copy a folder and make the copy durable.
fn copy(place: &Place, from: &Path) -> Result<f64> {
    let to = place.0.join("copy");
    let seconds = timed(|| {
        let mut cp = Command::new("cp");
        cp.arg("-r").arg(from).arg(&to);
        run(cp)?;
        let mut sync = Command::new("sync");
        sync.arg("-f").arg(&to);
        run(sync)
    })?;
    remove(&to);
    Ok(seconds)
}

fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path);
}

pub(super) struct Ours<'a> {
    pub(super) options: &'a Options,
    pub(super) place: &'a Place,
}

impl Ours<'_> {
    fn repository(&self) -> Result<Repository> {
        let place = Arc::new(DirPlace::new(&Env::real(), self.place.0.join("repository")));
        Ok(Repository::open_or_make(place, self.options.clone())?)
    }
}

impl Tried for Ours<'_> {
    fn first(&self) -> Result<()> {
        let repository = self.repository()?;
        let done =
            Backup::new(&repository, self.place.0.join("store"))?.run(&How::default(), ON)?;
        undamaged(done.damage)
    }
    fn unchanged(&self) -> Result<()> {
        self.first()
    }
    fn check(&self) -> Result<()> {
        undamaged(self.repository()?.check(ReadShare::All, ON)?.damage)
    }
    fn restore(&self) -> Result<()> {
        let repository = self.repository()?;
        let (newest, to) = (repository.latest(None)?, self.place.0.join(RESTORED));
        undamaged(repository.restore(newest, to, &What::All, ON)?.damage)
    }
    fn folder(&self) -> PathBuf {
        self.place.0.join("repository")
    }
    fn clear(&self) {
        remove(&self.place.0.join("repository"));
        remove(&self.place.0.join(RESTORED));
    }
}

#[derive(Clone, Copy)]
pub(super) enum Tool {
    Restic,
    Borg,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }

    pub(super) fn is_there(self) -> bool {
        let mut version = Command::new(self.name());
        version.arg(if matches!(self, Self::Restic) { "version" } else { "--version" });
        run(version).is_ok()
    }
}

/// Restic or borg, encrypted, as their manuals begin.
pub(super) struct Theirs<'a> {
    pub(super) tool: Tool,
    pub(super) place: &'a Place,
}

impl Theirs<'_> {
    fn repository(&self) -> PathBuf {
        self.place.0.join(self.tool.name())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.tool.name());
        command.args(args).current_dir(&self.place.0);
        for name in ["RESTIC_PASSWORD", "BORG_PASSPHRASE"] {
            command.env(name, "a comparison");
        }
        command.env("RESTIC_REPOSITORY", self.repository());
        command.env("RESTIC_CACHE_DIR", self.place.0.join("restic-cache"));
        command.env("BORG_BASE_DIR", self.place.0.join("borg-base"));
        command
    }

    fn archive(&self, name: &str) -> String {
        format!("{}::{name}", self.repository().display())
    }

    fn back_up(&self, name: &str) -> Result<()> {
        match self.tool {
            Tool::Restic => run(self.command(&["backup", "--quiet", "store"])),
            Tool::Borg => run(self.command(&["create", &self.archive(name), "store"])),
        }
    }
}

impl Tried for Theirs<'_> {
    fn first(&self) -> Result<()> {
        let repository = self.repository().display().to_string();
        match self.tool {
            Tool::Restic => run(self.command(&["init"]))?,
            Tool::Borg => {
                run(self.command(&["init", "--encryption", "repokey-blake2", &repository]))?
            }
        }
        self.back_up("first")
    }
    fn unchanged(&self) -> Result<()> {
        self.back_up("second")
    }
    fn check(&self) -> Result<()> {
        let repository = self.repository().display().to_string();
        match self.tool {
            Tool::Restic => run(self.command(&["check", "--read-data"])),
            Tool::Borg => run(self.command(&["check", "--verify-data", &repository])),
        }
    }
    fn restore(&self) -> Result<()> {
        let to = self.place.0.join(RESTORED);
        std::fs::create_dir_all(&to).map_err(|e| BenchError::Io(to.clone(), e))?;
        match self.tool {
            Tool::Restic => run(self.command(&["restore", "latest", "--target", RESTORED])),
            Tool::Borg => {
                let mut extract = self.command(&["extract", &self.archive("first")]);
                extract.current_dir(&to);
                run(extract)
            }
        }
    }
    fn folder(&self) -> PathBuf {
        self.repository()
    }
    fn clear(&self) {
        for name in [self.tool.name(), RESTORED, "restic-cache", "borg-base"] {
            remove(&self.place.0.join(name));
        }
    }
}
