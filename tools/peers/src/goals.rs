//! What reelvault is to reach beside the best of its peers, and whether it does.

use crate::results::Results;

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
    beside: Beside,
    /// What reelvault's figure over the other one must be; nothing where the project set no goal.
    ratio: Option<Ratio>,
}

/// What reelvault's figure stands beside.
#[derive(Clone, Copy)]
enum Beside {
    Peers(Best),
    /// The same work without an engine.
    Limit,
    /// Its own figure for another piece of work.
    Own(&'static str),
    /// Nothing: the figure is a ratio by itself.
    Nothing,
}

#[derive(Clone, Copy)]
enum Ratio {
    AtLeast(f64),
    AtMost(f64),
}

/// What would look better left out.
const NO_GOAL: &str = "told beside it; no goal was set";

const GOALS: [Goal; 26] = [
    Goal {
        what: "durable ingest, 64 sessions",
        text: "at least 3 times the best peer",
        work: "ingest 64",
        figure: "raw MB/s",
        beside: Beside::Peers(Best::Highest),
        ratio: Some(Ratio::AtLeast(3.0)),
    },
    Goal {
        what: "ack p99, 64 sessions",
        text: "at most half of the best peer's",
        work: "ingest 64",
        figure: "ack p99 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(0.5)),
    },
    Goal {
        what: "durable ingest, 64 sessions, with all that was put off",
        text: NO_GOAL,
        work: "ingest 64",
        figure: "raw MB/s, with settling",
        beside: Beside::Peers(Best::Highest),
        ratio: None,
    },
    Goal {
        what: "durable ingest, 64 sessions, peers packing at level 1",
        text: NO_GOAL,
        work: "ingest 64, level 1",
        figure: "raw MB/s",
        beside: Beside::Peers(Best::Highest),
        ratio: None,
    },
    Goal {
        what: "ack p99, 64 sessions, peers packing at level 1",
        text: NO_GOAL,
        work: "ingest 64, level 1",
        figure: "ack p99 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: None,
    },
    Goal {
        what: "a rush of 4 GiB into a new store, 64 sessions",
        text: NO_GOAL,
        work: "ingest 64, long",
        figure: "raw MB/s",
        beside: Beside::Peers(Best::Highest),
        ratio: None,
    },
    Goal {
        what: "a rush of 4 GiB, with all that was put off",
        text: NO_GOAL,
        work: "ingest 64, long",
        figure: "raw MB/s, with settling",
        beside: Beside::Peers(Best::Highest),
        ratio: None,
    },
    Goal {
        what: "ack p99 in a rush of 4 GiB",
        text: NO_GOAL,
        work: "ingest 64, long",
        figure: "ack p99 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: None,
    },
    Goal {
        what: "replay, cold",
        text: "at least 2 times the best peer",
        work: "read",
        figure: "cold replay raw MB/s",
        beside: Beside::Peers(Best::Highest),
        ratio: Some(Ratio::AtLeast(2.0)),
    },
    Goal {
        what: "replay, warm",
        text: "at least 2 times the best peer",
        work: "read",
        figure: "warm replay raw MB/s",
        beside: Beside::Peers(Best::Highest),
        ratio: Some(Ratio::AtLeast(2.0)),
    },
    Goal {
        what: "jump into a long session, cold",
        text: "at most a tenth of the best peer's time",
        work: "read",
        figure: "cold jump into a long session p50 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(0.1)),
    },
    Goal {
        what: "jump into a long session, warm",
        text: "at most a tenth of the best peer's time",
        work: "read",
        figure: "warm jump into a long session p50 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(0.1)),
    },
    Goal {
        what: "list a page of up to 100 sessions",
        text: "no slower than the best peer",
        work: "read",
        figure: "list p50 µs",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(1.0)),
    },
    Goal {
        what: "drop a day, until its space is back",
        text: "at most a hundredth of the best peer's time",
        work: "delete",
        figure: "space back s",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(0.01)),
    },
    Goal {
        what: "space",
        text: "at most 0.7 of the best peer's",
        work: "fill",
        figure: "stored / raw",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(0.7)),
    },
    Goal {
        what: "memory, 64 sessions",
        text: "the lowest of all",
        work: "ingest 64",
        figure: "memory MiB",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(1.0)),
    },
    Goal {
        what: "reopen after a kill",
        text: "faster than the best peer",
        work: "reopen",
        figure: "reopen after kill s",
        beside: Beside::Peers(Best::Lowest),
        ratio: Some(Ratio::AtMost(1.0)),
    },
    Goal {
        what: "durable ingest, 64 sessions, beside the bare loop",
        text: "at least 0.85 of it",
        work: "ingest 64",
        figure: "raw MB/s",
        beside: Beside::Limit,
        ratio: Some(Ratio::AtLeast(0.85)),
    },
    Goal {
        what: "bytes written an acknowledged stored byte, 64 sessions",
        text: "at most 2.2 with archiving",
        work: "ingest 64",
        figure: "written / acknowledged",
        beside: Beside::Nothing,
        ratio: Some(Ratio::AtMost(2.2)),
    },
    Goal {
        what: "replay, warm, beside opening and decompressing in memory",
        text: "at least 0.8 of it",
        work: "read",
        figure: "warm replay raw MB/s",
        beside: Beside::Limit,
        ratio: Some(Ratio::AtLeast(0.8)),
    },
    Goal {
        what: "replay, warm, 50 GiB beside 1",
        text: "within 1.2 times",
        work: "read, 51200 MiB",
        figure: "warm replay raw MB/s",
        beside: Beside::Own("read, 1024 MiB"),
        ratio: Some(Ratio::AtLeast(1.0 / 1.2)),
    },
    Goal {
        what: "replay, warm, 100,000 sites beside 10",
        text: "within 1.2 times",
        work: "read, 100000 sites",
        figure: "warm replay raw MB/s",
        beside: Beside::Own("read, 10 sites"),
        ratio: Some(Ratio::AtLeast(1.0 / 1.2)),
    },
    Goal {
        what: "list, 50 GiB beside 1",
        text: "within 1.2 times",
        work: "read, 51200 MiB",
        figure: "list p50 µs",
        beside: Beside::Own("read, 1024 MiB"),
        ratio: Some(Ratio::AtMost(1.2)),
    },
    Goal {
        what: "list, 100,000 sites beside 10",
        text: "within 1.2 times",
        work: "read, 100000 sites",
        figure: "list p50 µs",
        beside: Beside::Own("read, 10 sites"),
        ratio: Some(Ratio::AtMost(1.2)),
    },
    Goal {
        what: "ingest, 50 GiB beside 1",
        text: "within 1.2 times",
        work: "fill, 51200 MiB",
        figure: "raw MB/s, with settling",
        beside: Beside::Own("fill, 1024 MiB"),
        ratio: Some(Ratio::AtLeast(1.0 / 1.2)),
    },
    Goal {
        what: "ingest, 100,000 sites beside 10",
        text: "within 1.2 times",
        work: "fill, 100000 sites",
        figure: "raw MB/s, with settling",
        beside: Beside::Own("fill, 10 sites"),
        ratio: Some(Ratio::AtLeast(1.0 / 1.2)),
    },
];

/// A goal, with what was measured.
pub(crate) struct Reached {
    pub(crate) what: &'static str,
    pub(crate) text: &'static str,
    pub(crate) ours: f64,
    /// What it stands beside, and that figure.
    pub(crate) beside: Option<(String, f64)>,
    pub(crate) ratio: f64,
    /// Whether it is, where the project set one.
    pub(crate) reached: Option<bool>,
}

/// All goals for which there are figures: of the track in which all are equally safe.
pub(crate) fn reached(results: &Results) -> Vec<Reached> {
    GOALS.iter().filter_map(|goal| goal.look(results)).collect()
}

impl Goal {
    fn look(&self, results: &Results) -> Option<Reached> {
        let track = Track::EqualSecurity;
        let figure = |peer: &str, work| results.median(track, peer, work, self.figure);
        let ours = figure("reelvault", self.work)?;
        let beside = match self.beside {
            Beside::Nothing => None,
            Beside::Own(work) => Some((work.to_owned(), figure("reelvault", work)?)),
            Beside::Limit => Some(("limit".to_owned(), figure("limit", self.work)?)),
            Beside::Peers(best) => {
                let peers = results.peers(track).into_iter();
                let others = peers.filter(|peer| peer != "reelvault" && peer != "limit");
                let known = others.filter_map(|peer| Some((figure(&peer, self.work)?, peer)));
                let (figure, peer) = match best {
                    Best::Highest => known.max_by(|a, b| a.0.total_cmp(&b.0)),
                    Best::Lowest => known.min_by(|a, b| a.0.total_cmp(&b.0)),
                }?;
                Some((peer, figure))
            }
        };
        let ratio = ours / beside.as_ref().map_or(1.0, |(_, figure)| *figure);
        let reached = self.ratio.map(|goal| match goal {
            Ratio::AtLeast(goal) => ratio >= goal,
            Ratio::AtMost(goal) => ratio <= goal,
        });
        Some(Reached { what: self.what, text: self.text, ours, beside, ratio, reached })
    }
}
