//! Watching over the service: figures, the integrity scrub, checks, and the incidents they open and close.

pub(crate) mod checks;
pub(crate) mod incidents;
pub(crate) mod metrics;
pub(crate) mod plain;
pub(crate) mod scrub;
