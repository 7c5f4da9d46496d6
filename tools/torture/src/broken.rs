//! A promise that was not kept, and how it came.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a campaign finds, if it finds something.
#[derive(Debug, Clone)]
pub(crate) struct Broken(String);

/// Whether all promises were kept.
pub(crate) type Outcome<T = ()> = Result<T, Broken>;

impl Broken {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same, with where it came up put before it.
    pub(crate) fn during(self, when: impl std::fmt::Display) -> Self {
        Self(format!("{when}: {}", self.0))
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<reelvault::Error> for Broken {
    fn from(e: reelvault::Error) -> Self {
        Self(e.to_string())
    }
}

/// Runs something; a panic in it is a promise broken, too.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Broken::new(format!("a panic: {}", said.unwrap_or("without a word"))))
    })
}
