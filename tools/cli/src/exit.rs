//! How a command ends: exit codes, and what a person is told when it fails.

use std::io;

use reelvault::{Damage, Error, InputError};

use crate::human;

/// Exit codes. They are part of the command's interface: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Partial = 3,
    NoStore = 10,
    Locked = 11,
    WrongKey = 12,
    Corrupt = 13,
    DiskFull = 14,
    Gone = 15,
    Held = 16,
    Interrupted = 130,
}

impl Exit {
    /// The name of the code in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::NoStore => "no_store",
            Self::Locked => "locked",
            Self::WrongKey => "wrong_key",
            Self::Corrupt => "corrupt",
            Self::DiskFull => "disk_full",
            Self::Gone => "gone",
            Self::Held => "held",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a command returns.
pub(crate) type Run<T = Exit> = Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell a person.
    Told(Told),
    /// Whoever read our output went away: nothing is wrong.
    Pipe,
    /// Ctrl-C, or the request to terminate.
    Interrupted,
}

/// What happened, and what to do.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) exit: Exit,
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Told(Told { exit, what: what.into(), help: help.into() })
    }

    pub(crate) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, help)
    }

    /// The operating system refused something that has nothing to do with the store.
    pub(crate) fn io(doing: impl std::fmt::Display, cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new(Exit::DiskFull, format!("{doing}: the disk is full"), FULL)
            }
            _ => Self::new(Exit::Failed, format!("{doing}: {cause}"), ""),
        }
    }

    /// An error of writing to standard output.
    pub(crate) fn output(cause: &io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::io("writing to standard output", cause),
        }
    }
}

const FULL: &str = "Make room on that disk, then run the command again. Nothing that was \
    acknowledged is lost, and reading works meanwhile.";

const OTHER_TIME: &str = "The key file and the keyring are of different times. If the key file is an \
    older copy, use the newest. If the keyring is an older copy, use the newest: the key of an \
    older one is destroyed with every deletion, and then nobody can open it any more.";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(tell(&error))
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Told(tell(&Error::Input(error)))
    }
}

/// Puts an error of the engine into words for a person at night.
pub(crate) fn tell(error: &Error) -> Told {
    let (exit, help) = exit_and_help(error);
    let what = match error {
        Error::Expired { expiry_day } => {
            format!("the session has expired: it was kept until {}", human::day(*expiry_day))
        }
        Error::Erased => "the session was erased".to_owned(),
        Error::Held { sessions: 1 } => {
            "one of these sessions is held; nothing was erased".to_owned()
        }
        _ => error.to_string(),
    };
    Told { exit, what, help: help.to_owned() }
}

fn exit_and_help(error: &Error) -> (Exit, &'static str) {
    match error {
        Error::Input(_) => (Exit::Usage, ""),
        Error::NoStore(_) => (
            Exit::NoStore,
            "Check --store or REELVAULT_STORE. To make a store there: reelvault --store DIR init",
        ),
        Error::Exists(_) => {
            (Exit::Failed, "Nothing was changed. Use what is there, or name another place.")
        }
        Error::Locked { .. } => (
            Exit::Locked,
            "Only one process writes to a store. Wait for it to end, or stop it. Commands that \
             only read work meanwhile: sessions, show, replay, export, stats, verify, site list, \
             site show, holds, deletions, keys status, keys check, backup, serve, audit.",
        ),
        Error::UnknownSite(_) => (
            Exit::Failed,
            "See the sites with: reelvault site list. Add one with: reelvault site add SITE",
        ),
        Error::SiteExists(_) => (Exit::Failed, "Nothing was changed. It can be used as it is."),
        Error::UnknownSession => {
            (Exit::Failed, "See the sessions with: reelvault sessions SITE --all")
        }
        Error::WrongKey(_) => (
            Exit::WrongKey,
            "Check --key-file or the passphrase, and that --keyring names the mirrors of this \
             store. Nothing was changed.",
        ),
        Error::MissingKeyVersion(_) => (Exit::WrongKey, OTHER_TIME),
        Error::Erased | Error::Expired { .. } => {
            (Exit::Gone, "That is final: nobody can read it any more, here or in any copy.")
        }
        Error::Held { .. } => (
            Exit::Held,
            "See why with: reelvault holds SITE. To end a hold: reelvault release SITE SESSION. \
             To erase held sessions too, repeat the command with --held.",
        ),
        Error::Corrupt(c) => (Exit::Corrupt, corrupt_help(c.kind)),
        Error::Unsupported { .. } => (
            Exit::Failed,
            "The file comes from a newer reelvault, or it is damaged. Try the newest version.",
        ),
        Error::Poisoned { .. } | Error::ManifestUnsure => (
            Exit::Failed,
            "The disk did not keep what was written to it. Look at the system's log and at the \
             disk before you go on. What was acknowledged before is safe.",
        ),
        Error::NoRepository(_) => (
            Exit::NoStore,
            "The first backup makes a repository: reelvault backup --repo URL. Or name the right \
             place with --repo or REELVAULT_REPO.",
        ),
        Error::NoSnapshot(_) => {
            (Exit::NoStore, "See what there is with: reelvault snapshots --repo URL")
        }
        Error::NotEmpty(_) => (
            Exit::Failed,
            "A store is restored into an empty directory, so that nothing is mixed up or lost. \
             Name another, or move what is there away.",
        ),
        Error::Interrupted => (Exit::Interrupted, "Run it again, and it goes on from there."),
        Error::DiskFull { .. } => (Exit::DiskFull, FULL),
        Error::Io { cause, doing, .. } => (io_exit(doing, cause), io_help(doing, cause)),
        _ => (Exit::Failed, ""),
    }
}

fn corrupt_help(kind: Damage) -> &'static str {
    match kind {
        Damage::BeforeValidFrames => {
            "Copy the store away before anything else, then see all the damage with: reelvault \
             verify. Other commands read around it when they are given --salvage."
        }
        Damage::RolledBack => {
            "Files of an older copy were put over newer ones. Put all files of one copy back."
        }
        Damage::Foreign => {
            "It is not overwritten, for it may be something else. If it stands in the place of a \
             mirror of the keyring, move it away: the mirror is written again. Otherwise copy the \
             store away, then see all the damage with: reelvault verify"
        }
        _ => {
            "Other sites and files are not affected. Copy the store away before anything else, \
             then see all the damage with: reelvault verify"
        }
    }
}

fn io_exit(doing: &str, cause: &io::Error) -> Exit {
    let missing = cause.kind() == io::ErrorKind::NotFound;
    if missing && doing.contains("key") { Exit::WrongKey } else { Exit::Failed }
}

fn io_help(doing: &str, cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound if doing.contains("keyring") => {
            "None of the keyring's mirrors is there. Say where they are with --keyring or \
             REELVAULT_KEYRING. Without one of them nothing in the store can be read."
        }
        io::ErrorKind::NotFound if doing.contains("key file") => {
            "Say where the key is with --key-file or REELVAULT_KEY_FILE. A store made with a \
             passphrase takes it from --passphrase-file or REELVAULT_PASSPHRASE."
        }
        io::ErrorKind::PermissionDenied => {
            "Run it as the user that the store belongs to, or mend the permissions."
        }
        _ => "",
    }
}
