//! The command line: what there is to say, from which help, man pages and completions are made.

use clap::{Parser, Subcommand};

use crate::access::StoreArgs;
use crate::commands::{
    archive, audit, backup, bench, check, completions, deletions, erase, export, hold, import,
    init, keys, man, prune, reclaim, replay, restore, retention, serve, sessions, show, site,
    snapshots, stats, verify,
};

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed
    2  wrong usage
    3  done in part: some input was refused, the clock is doubted, or a
       held session may lack something
   10  there is no store, repository or snapshot
   11  another process writes to the store
   12  the key or the keyring is wrong or missing
   13  damage was found
   14  the disk is full
   15  erased or expired: nobody can read it any more
   16  held: nothing was erased
  130  interrupted";

const EXAMPLES: &str = "\
Examples:
  export REELVAULT_STORE=/srv/recordings
  reelvault init
  reelvault site add shop.example --retention 90
  reelvault import --site shop.example recordings/
  reelvault sessions shop.example --last 7d
  reelvault replay shop.example 5f3a > session.ndjson";

/// Keeps session recordings: web replays (rrweb) and chat transcripts of many sites, compressed and
/// encrypted, by site, session and time.
///
/// Data goes to standard output, everything else to standard error. Times without a zone are UTC. Where
/// something is only shown or held, session ids may be shortened as long as they stay unique within their site.
#[derive(Debug, Parser)]
#[command(name = "reelvault", version, max_term_width = 80, propagate_version = true)]
#[command(after_help = EXIT_CODES, after_long_help = const_str())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn const_str() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a store, its keyring and its key
    #[command(after_help = init::EXAMPLES)]
    Init(init::Args),
    /// Add, list or show sites
    #[command(after_help = site::EXAMPLES)]
    Site(site::Args),
    /// Import recordings from files and directories
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// List the sessions of a site by time
    #[command(after_help = sessions::EXAMPLES)]
    Sessions(sessions::Args),
    /// Show what is known of one session
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// Write the events of a session to standard output, as NDJSON
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
    /// Write a site's sessions to a directory, one NDJSON file each
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
    /// Show figures of the store
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Args),
    /// Check that everything in the store is whole
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Args),
    /// Erase sessions, visitors or sites: here and in every copy
    #[command(after_help = erase::EXAMPLES)]
    Erase(erase::Args),
    /// Delete what has been kept for as long as it was to be kept
    #[command(after_help = retention::EXAMPLES)]
    Retention(retention::Args),
    /// Keep a session beyond its retention
    #[command(after_help = hold::EXAMPLES)]
    Hold(hold::HoldArgs),
    /// End the hold of a session
    #[command(after_help = hold::RELEASE_EXAMPLES)]
    Release(hold::ReleaseArgs),
    /// List the sessions that are held, and why
    #[command(after_help = hold::LIST_EXAMPLES)]
    Holds(hold::ListArgs),
    /// List what was deleted, or print the certificate of a deletion
    #[command(visible_alias = "erasures", after_help = deletions::EXAMPLES)]
    Deletions(deletions::Args),
    /// Look after the keyring: status, rotation, mirrors, cipher suite
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Args),
    /// Give back the space of erased sessions now
    #[command(after_help = reclaim::EXAMPLES)]
    Reclaim(reclaim::Args),
    /// Move everything from journals into segments now
    #[command(after_help = archive::EXAMPLES)]
    Archive(archive::Args),
    /// Back up the store into a repository, once or continuously
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// List the snapshots in a repository
    #[command(after_help = snapshots::EXAMPLES)]
    Snapshots(snapshots::Args),
    /// Restore a store, a site or a session out of a repository
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Args),
    /// Check that everything in a repository is whole
    #[command(after_help = check::EXAMPLES)]
    Check(check::Args),
    /// Forget old snapshots by rule, and remove what none needs
    #[command(after_help = prune::EXAMPLES)]
    Prune(prune::Args),
    /// Forget single snapshots
    #[command(after_help = snapshots::FORGET_EXAMPLES)]
    Forget(snapshots::ForgetArgs),
    /// Let people watch sessions in a browser
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Args),
    /// List who watched, exported or erased at a site through `serve`
    #[command(after_help = audit::EXAMPLES)]
    Audit(audit::Args),
    /// Measure the engine on this machine, beside the machine's own limits
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Args),
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
    /// Write the man pages to a directory
    #[command(after_help = man::EXAMPLES)]
    Man(man::Args),
}

impl Command {
    /// The name of the command in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Site(args) => args.name(),
            Self::Import(_) => "import",
            Self::Sessions(_) => "sessions",
            Self::Show(_) => "show",
            Self::Replay(_) => "replay",
            Self::Export(_) => "export",
            Self::Stats(_) => "stats",
            Self::Verify(_) => "verify",
            Self::Erase(args) => args.name(),
            Self::Retention(_) => "retention",
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Holds(_) => "holds",
            Self::Deletions(_) => "deletions",
            Self::Keys(args) => args.name(),
            Self::Reclaim(_) => "reclaim",
            Self::Archive(_) => "archive",
            Self::Backup(_) => "backup",
            Self::Snapshots(_) => "snapshots",
            Self::Restore(_) => "restore",
            Self::Check(_) => "check",
            Self::Prune(_) => "prune",
            Self::Forget(_) => "forget",
            Self::Serve(args) => args.name(),
            Self::Audit(_) => "audit",
            Self::Bench(_) => "bench",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_in_80_columns() {
        let mut command = Cli::command();
        command.build();
        let mut all: Vec<clap::Command> = vec![command];
        while let Some(mut command) = all.pop() {
            for text in [command.render_help(), command.render_long_help()] {
                let text = text.to_string();
                let wide = text.lines().find(|line| line.chars().count() > 80);
                assert_eq!(wide, None, "{}", command.get_name());
            }
            all.extend(command.get_subcommands().cloned());
        }
    }
}
