//! What a campaign did, in numbers.

use std::collections::BTreeMap;
use std::fmt;

/// Numbers by name, in the order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, u64>);

impl Counts {
    pub(crate) fn add(&mut self, name: &str, n: u64) {
        match self.0.get_mut(name) {
            Some(count) => *count += n,
            None => drop(self.0.insert(name.to_owned(), n)),
        }
    }

    pub(crate) fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, n)| self.add(name, *n));
    }

    /// As [`fmt::Display`] writes them.
    pub(crate) fn parse(line: &str) -> Self {
        let mut counts = Self::default();
        for part in line.split(", ") {
            if let Some((n, name)) = part.split_once(' ')
                && let Ok(n) = n.parse()
            {
                counts.add(name, n);
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, n)) in self.0.iter().enumerate() {
            write!(f, "{}{n} {name}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
