//! The `reelvault` command: makes a store, fills it, looks into it and checks it.
//!
//! [`cli`] holds the definitions, [`commands`] one file for each command, [`import`] what reads recordings.
//! Session and visitor ids are customers' data: they are printed as data on standard output, and never in a message.

#![allow(clippy::disallowed_methods, reason = "a command reads and writes its users' own files")]

mod access;
mod certificate;
mod cli;
mod commands;
mod exit;
mod human;
mod import;
mod info;
mod interrupt;
mod memory;
mod output;
mod progress;
mod when;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::Serialize;

use cli::{Cli, Command};
use exit::{Exit, Failure, Run, Told};
use output::{ErrorBody, Out};

fn main() -> ExitCode {
    if std::env::args_os().len() < 2 {
        // A variable of the environment counts as an argument for clap, and this is still no command.
        let _ = writeln!(std::io::stderr(), "{}", Cli::command().render_help());
        return ExitCode::from(Exit::Usage as u8);
    }
    let cli = Cli::parse();
    let mut out = Out::new(cli.store.json, cli.command.name());
    let outcome = run(&cli, &mut out);
    let outcome = outcome.and_then(|exit| match out.flush() {
        // What was asked for is done; that nobody reads about it changes nothing.
        Ok(()) | Err(Failure::Pipe) => Ok(exit),
        Err(e) => Err(e),
    });
    ExitCode::from(conclude(outcome, &mut out) as u8)
}

fn run(cli: &Cli, out: &mut Out) -> Run {
    interrupt::install()?;
    let store = &cli.store;
    match &cli.command {
        Command::Init(args) => commands::init::run(&store.access()?, args, out),
        Command::Site(args) => commands::site::run(&store.access()?, args, out),
        Command::Import(args) => commands::import::run(&store.access()?, args, out),
        Command::Sessions(args) => commands::sessions::run(&store.access()?, args, out),
        Command::Show(args) => commands::show::run(&store.access()?, args, out),
        Command::Replay(args) => commands::replay::run(&store.access()?, args, out),
        Command::Export(args) => commands::export::run(&store.access()?, args, out),
        Command::Stats(args) => commands::stats::run(&store.access()?, args, out),
        Command::Verify(args) => commands::verify::run(&store.access()?, args, out),
        Command::Erase(args) => commands::erase::run(&store.access()?, args, out),
        Command::Retention(args) => commands::retention::run(&store.access()?, args, out),
        Command::Hold(args) => commands::hold::run(&store.access()?, args, out),
        Command::Release(args) => commands::hold::release(&store.access()?, args, out),
        Command::Holds(args) => commands::hold::list(&store.access()?, args, out),
        Command::Deletions(args) => commands::deletions::run(&store.access()?, args, out),
        Command::Keys(args) => commands::keys::run(&store.access()?, args, out),
        Command::Reclaim(args) => commands::reclaim::run(&store.access()?, args, out),
        Command::Archive(args) => commands::archive::run(&store.access()?, args, out),
        Command::Backup(args) => commands::backup::run(store, args, out),
        Command::Snapshots(args) => commands::snapshots::run(&store.access()?, args, out),
        Command::Restore(args) => commands::restore::run(&store.access()?, args, out),
        Command::Check(args) => commands::check::run(&store.access()?, args, out),
        Command::Prune(args) => commands::prune::run(&store.access()?, args, out),
        Command::Forget(args) => commands::snapshots::forget(&store.access()?, args, out),
        Command::Serve(args) => commands::serve::run(store, args, out),
        Command::Audit(args) => commands::audit::run(&store.access()?, args, out),
        Command::Bench(args) => commands::bench::run(args, out),
        Command::Completions(args) => commands::completions::run(args, out),
        Command::Man(args) => commands::man::run(args, out),
    }
}

/// Tells of a failure, and says how to end.
fn conclude(outcome: Run, out: &mut Out) -> Exit {
    let told = match outcome {
        Ok(exit) => return exit,
        Err(Failure::Pipe) => return Exit::Done,
        Err(Failure::Interrupted) => {
            Told { exit: Exit::Interrupted, what: "interrupted".into(), help: String::new() }
        }
        Err(Failure::Told(told)) => told,
    };
    // What was printed so far comes before the complaint.
    let _ = out.flush();
    output::complain(&told);
    if out.is_json() && !out.has_begun() {
        #[derive(Serialize)]
        struct Body {
            error: ErrorBody,
        }
        let _ = out.document(&Body { error: ErrorBody::from(&told) });
        let _ = out.flush();
    }
    told.exit
}
