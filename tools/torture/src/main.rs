//! Campaigns of crashes, faults and rot against the engine, on a simulated machine: see `torture --help` and
//! `tests/README.md`, which says what is promised for each fault.

mod broken;
mod campaign;
mod chance;
mod check;
mod command;
mod counts;
mod fish;
mod model;
mod run;
mod step;
mod world;

use std::process::ExitCode;

/// Tells what is done, step by step, if the environment asks for it.
fn trace(what: impl FnOnce() -> String) {
    if std::env::var_os("TORTURE_TRACE").is_some() {
        eprintln!("{}", what());
    }
}

fn main() -> ExitCode {
    command::main()
}
