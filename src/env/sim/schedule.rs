//! What goes wrong when: operations are numbered, and faults and the crash are set by number.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// What changes a disk, or makes a change durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file was made.
    Create,
    /// Bytes were written to a file.
    Write,
    /// The length of a file was set, also by emptying it on opening.
    SetLen,
    /// A file was synced.
    Sync,
    /// A file was renamed.
    Rename,
    /// A file was unlinked.
    Remove,
    /// One directory was made.
    CreateDir,
    /// A directory was synced.
    SyncDir,
    /// A lock was taken, and its note written.
    Lock,
}

const KINDS: usize = Kind::Lock as usize + 1;

/// One operation that changes a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its place in the order, from 0.
    pub number: u64,
    /// What it does.
    pub kind: Kind,
    /// What it does it to; of a rename, where it leads.
    pub path: Arc<Path>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At the operation of this number.
    Once(u64),
    /// At that operation and all later ones.
    From(u64),
}

/// What an operation answers instead of doing its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An input or output error. A write has issued half of its bytes; a sync has lost what it should
    /// have written, and the next one succeeds without it (of a directory: nothing is lost, nothing durable).
    Io,
    /// No space; nothing of a write is issued. With [`When::From`] it strikes only what needs space: making files and directories and
    /// writing where nothing was written before.
    Full,
}

/// What a read answers instead of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// An input error.
    Io,
    /// Only the first half of what was asked for, as if the file ended there.
    Short,
    /// As many bytes, from a page before or behind: a disk that looked in the wrong place.
    Misdirected,
    /// One bit is wrong, on the way and not on the medium.
    Rot,
}

/// The numbering, and what is planned.
#[derive(Default)]
pub(super) struct Schedule {
    pub(super) operations: u64,
    pub(super) counts: [u64; KINDS],
    pub(super) last: Option<Operation>,
    pub(super) crashed: bool,
    /// The number of the operation, and how many bytes of it are issued if it is a write.
    pub(super) crash: Option<(u64, u64)>,
    pub(super) faults: Vec<(When, Fault)>,
    pub(super) reads: u64,
    pub(super) read_faults: Vec<(When, ReadFault)>,
}

/// Why an operation does not happen.
pub(super) struct Denied {
    pub(super) number: u64,
    pub(super) error: io::Error,
    pub(super) crash: bool,
    /// Bytes of a write that are issued all the same.
    pub(super) issued: usize,
}

impl Schedule {
    /// Refuses everything after the crash.
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    /// Numbers a read, and says what is wrong with it.
    pub(super) fn read(&mut self) -> (u64, Option<ReadFault>) {
        let number = self.reads;
        self.reads += 1;
        let strikes = |&&(when, _): &&(When, ReadFault)| match when {
            When::Once(at) => number == at,
            When::From(at) => number >= at,
        };
        (number, self.read_faults.iter().find(strikes).map(|(_, fault)| *fault))
    }

    /// Numbers an operation on `bytes` bytes, or says why it fails.
    pub(super) fn begin(
        &mut self,
        kind: Kind,
        path: &Arc<Path>,
        needs_space: bool,
        bytes: usize,
    ) -> Result<u64, Denied> {
        let number = self.operations;
        self.last = Some(Operation { number, kind, path: Arc::clone(path) });
        if let Some((at, issued)) = self.crash
            && at <= number
        {
            self.crashed = true;
            let error = io::Error::other("simulated crash");
            let issued = usize::try_from(issued).unwrap_or(bytes).min(bytes);
            return Err(Denied { number, error, crash: true, issued });
        }
        self.operations += 1;
        self.counts[kind as usize] += 1;
        let strikes = |&&(when, fault): &&(When, Fault)| match when {
            When::Once(at) => number == at,
            When::From(at) => number >= at && (fault != Fault::Full || needs_space),
        };
        match self.faults.iter().find(strikes) {
            None => Ok(number),
            Some((_, fault)) => {
                let error = fault.error();
                let issued = if *fault == Fault::Io { bytes / 2 } else { 0 };
                Err(Denied { number, error, crash: false, issued })
            }
        }
    }
}

impl Fault {
    /// As Linux numbers them, so that what a program prints looks the same.
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io => 5,
            Self::Full => 28,
        })
    }
}

impl From<Denied> for io::Error {
    fn from(denied: Denied) -> Self {
        denied.error
    }
}
