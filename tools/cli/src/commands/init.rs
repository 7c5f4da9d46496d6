//! `init`: makes a store, its keyring and its key.

use std::path::{Path, PathBuf};

use reelvault::Error;
use serde::Serialize;

use crate::access::{Access, MAKING, MANIFEST};
use crate::exit::{Exit, Failure, Run};
use crate::human;
use crate::output::{self, Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault --store /srv/recordings init
  reelvault --store /srv/recordings \\
      --keyring /mnt/a/keyring --keyring /mnt/b/keyring \\
      --key-file /etc/reelvault/key init
  reelvault --store /srv/recordings --passphrase-file /etc/reelvault/phrase init

Two things open a store, and both are needed: the keyring, which stands in two
or more mirrors, and the key or passphrase. Losing all mirrors, or the key,
loses the data for ever. Whoever has them and a copy of the store reads it. So
keep the mirrors on different disks, and none of it in the store's backups.";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many journals are written side by side, 1 to 256; fixed for good
    #[arg(long, value_name = "N", default_value_t = 4)]
    shards: u16,
}

#[derive(Serialize)]
struct Body<'a> {
    store: &'a Path,
    id: String,
    keyring: &'a [PathBuf],
    key_file: Option<&'a Path>,
}

pub(crate) fn run(access: &Access, args: &Args, out: &mut Out) -> Run {
    refuse_foreign(access)?;
    let store = access.create(args.shards)?;
    let id = store.id().to_string();
    store.close()?;
    let key_file = access.key_file();
    if out.is_json() {
        out.document(&Body { store: &access.dir, id, keyring: &access.mirrors, key_file })?;
    } else {
        out.line(format_args!("made a store in {}", access.dir.display()))?;
        let mirrors = access.mirrors.iter().map(|m| ("keyring", m.display().to_string()));
        let key = match key_file {
            Some(path) => ("key", path.display().to_string()),
            None => ("key", "the passphrase".to_owned()),
        };
        out.pairs(mirrors.chain([key]))?;
    }
    out.flush()?;
    warn(key_file.is_some());
    Ok(Exit::Done)
}

/// Refuses a directory in which there is anything but an unfinished store.
fn refuse_foreign(access: &Access) -> Run<()> {
    let dir = &access.dir;
    if dir.join(MANIFEST).exists() {
        return Err(Error::Exists(dir.join(MANIFEST)).into());
    }
    let failed = |e| Failure::io(format_args!("looking into {}", dir.display()), &e);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let named = |names: &[&str]| names.iter().any(|n| name == *n);
        // What a making that was interrupted leaves behind, and what a new file system has at its root. Journals and segments
        // come later: if there are any, it is a store that has lost its manifest.
        let ours = match named(&["journal", "segment"]) {
            true => std::fs::read_dir(entry.path()).map_err(failed)?.next().is_none(),
            false => named(&[MAKING, "lock", "manifest.new", "lost+found"]),
        };
        if !ours {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} is not empty", dir.display()),
                "Nothing was changed. Name a directory that is empty or does not exist.",
            ));
        }
    }
    Ok(())
}

fn warn(key_file: bool) {
    let both = "MOVE THE MIRRORS AND THE KEY TO OTHER DISKS than the store's and than each other's. \
        Losing every mirror, or the key, loses the data for ever; and whoever copies them \
        with the store can read it. Then say where they are: --keyring, --key-file, or \
        REELVAULT_KEYRING and REELVAULT_KEY_FILE.";
    let mirrors = "MOVE THE MIRRORS TO OTHER DISKS than the store's and than each other's, and keep \
        the passphrase safe. Losing every mirror, or the passphrase, loses the data for ever. Then \
        say where they are: --keyring or REELVAULT_KEYRING.";
    for line in human::wrap(if key_file { both } else { mirrors }, 68) {
        output::note(&line);
    }
}
