//! What was measured, with its limit and its goal.

use serde::Serialize;

use crate::corpus::Corpus;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// The value.
    pub value: f64,
    /// Its unit; a ratio has none.
    pub unit: &'static str,
    /// What this machine could do at best, or what it is compared with, in the same unit.
    pub limit: Option<f64>,
    /// The goal, as text: `>= 0.85`.
    pub goal: &'static str,
    /// Whether the goal is reached; `None` for figures without one.
    pub reached: Option<bool>,
    /// How it was measured, in a sentence.
    pub note: String,
}

/// All figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: String,
    /// The corpus.
    pub corpus: String,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// A goal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64, &'static str),
    AtMost(f64, &'static str),
    None,
}

impl Report {
    pub(crate) fn new(machine: String, corpus: &Corpus) -> Self {
        let chunks: usize = corpus.sessions.iter().map(|s| s.chunks.len()).sum();
        let corpus = format!(
            "{} sessions of {} sites, {chunks} chunks, {:.1} MiB raw",
            corpus.sessions.len(),
            corpus.sites.len(),
            corpus.raw_bytes() as f64 / f64::from(1 << 20),
        );
        Self { machine, corpus, figures: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        limit: Option<f64>,
        goal: Goal,
        note: impl Into<String>,
    ) {
        let (text, reached) = match goal {
            Goal::AtLeast(at, text) => (text, Some(value >= at)),
            Goal::AtMost(at, text) => (text, Some(value <= at)),
            Goal::None => ("", None),
        };
        let note = note.into();
        self.figures.push(Figure { name, value, unit, limit, goal: text, reached, note });
    }
}
