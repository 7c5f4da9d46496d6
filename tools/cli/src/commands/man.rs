//! `man`: the man pages, one for each command.

use std::path::PathBuf;

use clap::CommandFactory;
use serde::Serialize;

use crate::cli::Cli;
use crate::exit::{Exit, Failure, Run};
use crate::human;
use crate::output::Out;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault man --out /usr/local/share/man/man1
  reelvault man --out /tmp/man && man -l /tmp/man/reelvault-import.1";

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Body {
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Run {
    let dir = &args.out;
    let failed = |e| Failure::io(format_args!("writing to {}", dir.display()), &e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut command = Cli::command();
    command.build();
    let mut files = Vec::new();
    let mut all = vec![command];
    while let Some(command) = all.pop() {
        // `help` repeats the others.
        let under = command.get_subcommands().filter(|c| c.get_name() != "help");
        all.extend(under.cloned());
        let man = clap_mangen::Man::new(command.disable_help_subcommand(true));
        let path = dir.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page).map_err(failed)?;
        std::fs::write(&path, page).map_err(failed)?;
        files.push(path);
    }
    files.sort();
    if out.is_json() {
        out.document(&Body { files })?;
    } else {
        let pages = human::of(files.len() as u64, "page", "pages");
        out.line(format_args!("wrote {pages} to {}", dir.display()))?;
    }
    Ok(Exit::Done)
}
