//! What of all the work is asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::{Peer, Track};

const MIB: u64 = 1 << 20;

/// What is measured, and where.
#[derive(Args)]
pub(crate) struct How {
    /// The folder of the corpus.
    #[arg(long, default_value = "tools/recorder/corpus")]
    pub(crate) corpus: PathBuf,
    /// A folder on the disk to be measured; what is made in it is removed.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Where results.json, RESULTS.md and the plots are written.
    #[arg(long, default_value = "tools/peers")]
    pub(crate) out: PathBuf,
    /// Only these peers; reelvault is always among them.
    #[arg(long)]
    pub(crate) peer: Vec<Peer>,
    /// Only this track.
    #[arg(long)]
    pub(crate) track: Vec<Track>,
    /// Only this work: ingest, read (with deleting), kill, backup or growth.
    #[arg(long)]
    pub(crate) only: Vec<Part>,
    /// Rounds; medians are told.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Much less of everything, in two rounds: to see that it works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Adds to results.json, which must be of this commit, seed and amount, what it does not have yet: by round, peer and work.
    #[arg(long)]
    pub(crate) resume: bool,
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Ingest,
    Read,
    Kill,
    Backup,
    Growth,
}

impl How {
    pub(crate) fn tracks(&self) -> Vec<Track> {
        if self.track.is_empty() {
            vec![Track::EqualSecurity, Track::Native]
        } else {
            self.track.clone()
        }
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let all = Peer::value_variants().iter().copied();
        all.filter(|peer| {
            self.peer.is_empty() || *peer == Peer::Reelvault || self.peer.contains(peer)
        })
        .collect()
    }

    pub(crate) fn wants(&self, part: Part) -> bool {
        // Growth takes hours, so it has to be asked for.
        if self.only.is_empty() { part != Part::Growth } else { self.only.contains(&part) }
    }

    pub(crate) fn mib(&self, full: u64, quick: u64) -> String {
        ((if self.quick { quick } else { full }) * MIB).to_string()
    }
}
