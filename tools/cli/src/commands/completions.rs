//! `completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::{Exit, Failure, Run};
use crate::output::Out;

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault completions bash > /etc/bash_completion.d/reelvault
  reelvault completions zsh > /usr/local/share/zsh/site-functions/_reelvault
  reelvault completions fish > ~/.config/fish/completions/reelvault.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Run {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "reelvault", &mut script);
    out.raw().write_all(&script).map_err(|e| Failure::output(&e))?;
    Ok(Exit::Done)
}
