//! What was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Track;
use crate::measure::{Figures, median};

/// All results of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    pub(crate) measured: Vec<Measured>,
    /// What a peer could not do.
    pub(crate) failures: Vec<Failure>,
}

/// A piece of work that ended in a peer's error.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) track: Track,
    pub(crate) peer: String,
    pub(crate) work: String,
    pub(crate) round: u32,
    pub(crate) told: String,
}

/// One piece of work of one round.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) track: Track,
    /// A peer's name, or `limit`.
    pub(crate) peer: String,
    /// What was done: `ingest 64`.
    pub(crate) work: String,
    pub(crate) round: u32,
    pub(crate) figures: Figures,
}

impl Results {
    /// Whether rounds of the other one may be added to these.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        (&self.machine, &self.commit, self.seed, self.quick, &self.versions)
            == (&other.machine, &other.commit, other.seed, other.quick, &other.versions)
    }

    /// The peers of a track, reelvault first and the limit last.
    pub(crate) fn peers(&self, track: Track) -> Vec<String> {
        let mut peers: Vec<String> = Vec::new();
        for measured in self.measured.iter().filter(|m| m.track == track) {
            if !peers.contains(&measured.peer) {
                peers.push(measured.peer.clone());
            }
        }
        let order = |peer: &String| match peer.as_str() {
            "reelvault" => (0, String::new()),
            "limit" => (2, String::new()),
            other => (1, other.to_lowercase()),
        };
        peers.sort_by_key(order);
        peers
    }

    /// The figures of all rounds, sorted.
    pub(crate) fn rounds(&self, track: Track, peer: &str, work: &str, figure: &str) -> Vec<f64> {
        let same =
            self.measured.iter().filter(|m| m.track == track && m.peer == peer && m.work == work);
        let mut values: Vec<f64> =
            same.filter_map(|m| m.figures.get(figure).copied()).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median of the rounds.
    pub(crate) fn median(&self, track: Track, peer: &str, work: &str, figure: &str) -> Option<f64> {
        median(&self.rounds(track, peer, work, figure))
    }

    /// The pieces of work, and the figures of each, as they first came.
    pub(crate) fn works(&self, track: Track) -> Vec<(String, Vec<String>)> {
        let mut works: Vec<(String, Vec<String>)> = Vec::new();
        for measured in self.measured.iter().filter(|m| m.track == track) {
            let at =
                works.iter().position(|(work, _)| *work == measured.work).unwrap_or_else(|| {
                    works.push((measured.work.clone(), Vec::new()));
                    works.len() - 1
                });
            for figure in measured.figures.keys() {
                if !works[at].1.contains(figure) {
                    works[at].1.push(figure.clone());
                }
            }
        }
        works
    }
}
