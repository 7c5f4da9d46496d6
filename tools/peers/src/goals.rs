//! What reelvault is to reach beside the best of its peers, and whether it does.

use crate::run::Results;

use crate::engine::Track;

/// Which of the peers is the best one.
#[derive(Clone, Copy)]
enum Best {
    Highest,
    Lowest,
}

/// One goal.
struct Goal {
    what: &'static str,
    /// As the project has it.
    text: &'static str,
    work: &'static str,
    figure: &'static str,
    best: Best,
    /// Whether it is compared with the bare loop, and not with the peers.
    beside_limit: bool,
    /// What reelvault's figure over the best peer's must be.
    ratio: Ratio,
}

#[derive(Clone, Copy)]
enum Ratio {
    AtLeast(f64),
    AtMost(f64),
}

const GOALS: [Goal; 12] = [
    Goal {
        what: "durable ingest, 64 sessions",
        text: "at least 3 times the best peer",
        work: "ingest 64",
        figure: "raw MB/s",
        best: Best::Highest,
        beside_limit: false,
        ratio: Ratio::AtLeast(3.0),
    },
    Goal {
        what: "ack p99, 64 sessions",
        text: "at most half of the best peer's",
        work: "ingest 64",
        figure: "ack p99 µs",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(0.5),
    },
    Goal {
        what: "replay, cold",
        text: "at least 2 times the best peer",
        work: "read",
        figure: "cold replay raw MB/s",
        best: Best::Highest,
        beside_limit: false,
        ratio: Ratio::AtLeast(2.0),
    },
    Goal {
        what: "replay, warm",
        text: "at least 2 times the best peer",
        work: "read",
        figure: "warm replay raw MB/s",
        best: Best::Highest,
        beside_limit: false,
        ratio: Ratio::AtLeast(2.0),
    },
    Goal {
        what: "jump into a long session, cold",
        text: "at most a tenth of the best peer's time",
        work: "read",
        figure: "cold jump into a long session p50 µs",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(0.1),
    },
    Goal {
        what: "jump into a long session, warm",
        text: "at most a tenth of the best peer's time",
        work: "read",
        figure: "warm jump into a long session p50 µs",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(0.1),
    },
    Goal {
        what: "list 100 sessions",
        text: "no slower than the best peer",
        work: "read",
        figure: "list p50 µs",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(1.0),
    },
    Goal {
        what: "drop a day, until its space is back",
        text: "at most a hundredth of the best peer's time",
        work: "delete",
        figure: "space back s",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(0.01),
    },
    Goal {
        what: "space",
        text: "at most 0.7 of the best peer's",
        work: "fill",
        figure: "stored / raw",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(0.7),
    },
    Goal {
        what: "memory, 64 sessions",
        text: "the lowest of all",
        work: "ingest 64",
        figure: "memory MiB",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(1.0),
    },
    Goal {
        what: "reopen after a kill",
        text: "faster than the best peer",
        work: "reopen",
        figure: "reopen after kill s",
        best: Best::Lowest,
        beside_limit: false,
        ratio: Ratio::AtMost(1.0),
    },
    Goal {
        what: "durable ingest, 64 sessions, beside the bare loop",
        text: "at least 0.85 of it",
        work: "ingest 64",
        figure: "raw MB/s",
        best: Best::Highest,
        beside_limit: true,
        ratio: Ratio::AtLeast(0.85),
    },
];

/// A goal, with what was measured.
pub(crate) struct Reached {
    pub(crate) what: &'static str,
    pub(crate) text: &'static str,
    pub(crate) ours: f64,
    pub(crate) best: f64,
    pub(crate) peer: String,
    pub(crate) ratio: f64,
    pub(crate) reached: bool,
}

/// All goals for which there are figures: of the track in which all are equally safe.
pub(crate) fn reached(results: &Results) -> Vec<Reached> {
    GOALS.iter().filter_map(|goal| goal.look(results)).collect()
}

impl Goal {
    fn look(&self, results: &Results) -> Option<Reached> {
        let track = Track::EqualSecurity;
        let figure = |peer: &str| results.median(track, peer, self.work, self.figure);
        let ours = figure("reelvault")?;
        let peers = results.peers(track).into_iter();
        let others =
            peers.filter(|peer| peer != "reelvault" && (peer == "limit") == self.beside_limit);
        let known = others.filter_map(|peer| Some((figure(&peer)?, peer)));
        let (best, peer) = match self.best {
            Best::Highest => known.max_by(|a, b| a.0.total_cmp(&b.0)),
            Best::Lowest => known.min_by(|a, b| a.0.total_cmp(&b.0)),
        }?;
        let ratio = ours / best;
        let reached = match self.ratio {
            Ratio::AtLeast(goal) => ratio >= goal,
            Ratio::AtMost(goal) => ratio <= goal,
        };
        Some(Reached { what: self.what, text: self.text, ours, best, peer, ratio, reached })
    }
}
