//! Structured logs: one JSON object a line, on standard error.
//!
//! They name requests by their ids, files and sites; never a visitor, a session, an event, an address of a recorded person,
//! a token or a key. How much is said is set by `REELVAULT_SERVE_LOG`, as `info` or `reelvault_replay=debug`.

use tracing_subscriber::EnvFilter;

/// Begins to log; where a program logs already, nothing changes.
pub fn begin() {
    let filter = EnvFilter::try_from_env("REELVAULT_SERVE_LOG");
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().json().with_env_filter(filter);
    let _ = logs.with_writer(std::io::stderr).try_init();
}
