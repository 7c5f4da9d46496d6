//! Which store, and what opens it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reelvault::backup::{Place, Repository};
use reelvault::env::Env;
use reelvault::{Error, KeyFile, KeyProvider, Options, Passphrase, Recovery, Site, SiteId, Store};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure, Run};

/// Longest passphrase file in bytes: whatever is longer is another file by mistake.
const PASSPHRASE_BYTES_MAX: u64 = 4096;

/// The file that makes a directory a store.
pub(crate) const MANIFEST: &str = "manifest";
/// The file that notes that one is being made.
pub(crate) const MAKING: &str = "making";

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Store and keys")]
pub(crate) struct StoreArgs {
    /// The directory of the store
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "REELVAULT_STORE",
        hide_env_values = true
    )]
    store: Option<PathBuf>,
    /// A mirror of the keyring, a file or s3://BUCKET/PREFIX, gs://… or az://…; give it once for each
    /// [env: REELVAULT_KEYRING, colon separated] [default: DIR.keys/mirror-1/keyring and
    /// DIR.keys/mirror-2/keyring]
    #[arg(long, global = true, value_name = "FILE")]
    keyring: Vec<PathBuf>,
    /// The key file [env: REELVAULT_KEY_FILE] [default: DIR.keys/key]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "passphrase_file")]
    key_file: Option<PathBuf>,
    /// A file that holds the passphrase, in place of a key file [env: REELVAULT_PASSPHRASE holds the
    /// passphrase itself]
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Open a store whose journals are damaged, and read around the damage
    #[arg(long, global = true)]
    salvage: bool,
    /// Print JSON: one document, {"reelvault":1,"command":"...",...}
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Which repository.
#[derive(Debug, Args)]
pub(crate) struct RepositoryArgs {
    /// The repository: a directory, file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or
    /// az://CONTAINER/PREFIX
    #[arg(long, value_name = "URL", env = "REELVAULT_REPO", hide_env_values = true)]
    pub(crate) repo: String,
}

const PLACES: &str = "Credentials come from the platform's usual environment: AWS_ACCESS_KEY_ID and \
    AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and \
    AZURE_STORAGE_ACCOUNT_KEY, or the machine's role. AWS_ENDPOINT_URL names another S3 server.";

/// A store that is not open yet.
pub(crate) struct Access {
    /// Its directory, absolute.
    pub(crate) dir: PathBuf,
    /// The mirrors of its keyring.
    pub(crate) mirrors: Vec<PathBuf>,
    secret: Secret,
    recovery: Recovery,
}

/// What unwraps the keyring.
enum Secret {
    KeyFile(PathBuf),
    Passphrase(Zeroizing<Vec<u8>>),
}

impl StoreArgs {
    /// Finds out which store is meant, and what opens it.
    pub(crate) fn access(&self) -> Run<Access> {
        let Some(dir) = &self.store else {
            let what = "which store?";
            return Err(Failure::usage(
                what,
                "Name its directory with --store or REELVAULT_STORE.",
            ));
        };
        let dir = std::path::absolute(dir)
            .map_err(|e| Failure::io(format_args!("finding {}", dir.display()), &e))?;
        // A slash at the end would hide the directory's name.
        let dir: PathBuf = dir.components().collect();
        let mirrors = self.mirrors(&dir);
        let secret = self.secret(&dir)?;
        let recovery = if self.salvage { Recovery::Salvage } else { Recovery::Strict };
        Ok(Access { dir, mirrors, secret, recovery })
    }

    fn mirrors(&self, dir: &Path) -> Vec<PathBuf> {
        if !self.keyring.is_empty() {
            return self.keyring.clone();
        }
        if let Some(list) = variable("REELVAULT_KEYRING") {
            return split(list.as_bytes());
        }
        let keys = keys_dir(dir);
        vec![keys.join("mirror-1/keyring"), keys.join("mirror-2/keyring")]
    }

    fn secret(&self, dir: &Path) -> Run<Secret> {
        if let Some(path) = &self.passphrase_file {
            return Ok(Secret::Passphrase(read_passphrase(path)?));
        }
        if let Some(path) = &self.key_file {
            return Ok(Secret::KeyFile(path.clone()));
        }
        match (variable("REELVAULT_KEY_FILE"), variable("REELVAULT_PASSPHRASE")) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "both REELVAULT_KEY_FILE and REELVAULT_PASSPHRASE are set",
                "A store is opened by one of them. Unset the other.",
            )),
            (Some(path), None) => Ok(Secret::KeyFile(path.into())),
            (None, Some(text)) => Ok(Secret::Passphrase(Zeroizing::new(text.into_vec()))),
            (None, None) => Ok(Secret::KeyFile(keys_dir(dir).join("key"))),
        }
    }
}

/// Paths and URLs between colons, of which that of a URL is none.
fn split(list: &[u8]) -> Vec<PathBuf> {
    let mut from = 0;
    let mut parts = Vec::new();
    for at in 0..=list.len() {
        let ends = list.get(at).is_none_or(|b| *b == b':' && !list[at..].starts_with(b"://"));
        if ends {
            parts.push(&list[from..at]);
            from = at + 1;
        }
    }
    let named = parts.into_iter().filter(|part| !part.is_empty());
    named.map(|part| PathBuf::from(OsStr::from_bytes(part))).collect()
}

/// What names a mirror in a bucket, if it does.
pub(crate) fn bucket_url(mirror: &Path) -> Option<&str> {
    mirror.to_str().filter(|text| text.contains("://"))
}

/// The bucket, or the directory, that a URL names.
pub(crate) fn place(url: &str) -> Run<Arc<dyn Place>> {
    reelvault_bucket::place(&Env::real(), url).map_err(|e| Failure::usage(e.to_string(), PLACES))
}

/// A variable of the environment; one that is empty counts as one that is not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where keys are kept unless told otherwise: beside the store, so that a copy of the store alone opens nothing.
fn keys_dir(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".keys");
    name.into()
}

fn read_passphrase(path: &Path) -> Run<Zeroizing<Vec<u8>>> {
    let failed = |e| {
        let doing = format_args!("reading the passphrase file {}", path.display()).to_string();
        Failure::io(doing, &e)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    // A pipe, as `<(command)` makes it, has no owner to be careful about.
    if mode & 0o077 != 0 && file.metadata().map_err(failed)?.is_file() {
        return Err(Failure::new(
            Exit::Failed,
            format!("others than its owner may use {}", path.display()),
            "Give it mode 0600: chmod 600 FILE",
        ));
    }
    // Room for all of it at once: growing would leave the passphrase in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX as usize + 1));
    file.take(PASSPHRASE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > PASSPHRASE_BYTES_MAX {
        let what = format!("{} is too long for a passphrase", path.display());
        return Err(Failure::usage(what, "A passphrase has at most 4,096 bytes."));
    }
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Ok(text)
}

impl Access {
    /// The key file, where the store has one.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match &self.secret {
            Secret::KeyFile(path) => Some(path),
            Secret::Passphrase(_) => None,
        }
    }

    /// Opens the store for reading; another process may write to it meanwhile.
    pub(crate) fn read(&self) -> Run<Store> {
        Ok(Store::open_read_only(self.options(&self.provider_of_store()?)?)?)
    }

    /// Opens the store for reading, around what is damaged if it must be; also returns the damage that stood in the way.
    pub(crate) fn read_around(&self) -> Run<(Store, Option<Error>)> {
        around(self.options(&self.provider_of_store()?)?)
    }

    /// As [`read_around`](Self::read_around), a store in another directory, with the same keys.
    pub(crate) fn read_around_at(&self, dir: &Path) -> Run<(Store, Option<Error>)> {
        around(self.options_at(dir, &self.provider()?)?)
    }

    /// Opens the store for writing.
    pub(crate) fn write(&self) -> Run<Store> {
        Ok(Store::open(self.options(&self.provider_of_store()?)?)?)
    }

    /// Opens the store for writing, without its own work in the background.
    pub(crate) fn write_quietly(&self) -> Run<Store> {
        Ok(Store::open(self.quiet_options()?)?)
    }

    /// Opens the repository at a place, for the backups of the store; the store itself need not be there.
    pub(crate) fn repository(&self, place: &str, make: bool) -> Run<Repository> {
        let found = self::place(place)?;
        let options = self.options(&self.provider()?)?;
        Ok(match make {
            true => Repository::open_or_make(found, options)?,
            false => Repository::open(found, options)?,
        })
    }

    /// Options of the store without work in the background, for whoever opens it more than once.
    pub(crate) fn quiet_options(&self) -> Run<Options> {
        Ok(self.options(&self.provider_of_store()?)?.background(false))
    }

    /// Makes the store, and a key file unless there is one.
    pub(crate) fn create(&self, shards: u16) -> Run<Store> {
        let made = match self.key_file() {
            Some(path) => match KeyFile::create(&Env::real(), path) {
                Ok(_) => Some(path),
                Err(Error::Exists(_)) => None,
                Err(e) => return Err(e.into()),
            },
            None => None,
        };
        let created = self.provider().and_then(|provider| {
            let options = self.options(&provider)?.shards(shards);
            Ok(Store::create(options)?)
        });
        let begun = || [MANIFEST, MAKING].iter().any(|name| self.dir.join(name).exists());
        if let (Err(_), Some(path)) = (&created, made)
            && !begun()
        {
            // Nothing is sealed with it, and it would only be in the way.
            let _ = std::fs::remove_file(path);
        }
        created
    }

    /// An error if there is no store.
    pub(crate) fn must_exist(&self) -> Run<()> {
        match self.dir.join(MANIFEST).exists() {
            true => Ok(()),
            false => Err(Error::NoStore(self.dir.clone()).into()),
        }
    }

    fn provider(&self) -> Run<Arc<dyn KeyProvider>> {
        let env = Env::real();
        Ok(match &self.secret {
            Secret::Passphrase(text) => Arc::new(Passphrase::new(&env, text.to_vec())?),
            Secret::KeyFile(path) => Arc::new(KeyFile::open(&env, path)?),
        })
    }

    /// What opens a store that must be there: without one, its key is the lesser question.
    fn provider_of_store(&self) -> Run<Arc<dyn KeyProvider>> {
        self.provider().or_else(|e| self.must_exist().and(Err(e)))
    }

    fn options(&self, provider: &Arc<dyn KeyProvider>) -> Run<Options> {
        Ok(self.options_at(&self.dir, provider)?.recovery(self.recovery))
    }

    fn options_at(&self, dir: &Path, provider: &Arc<dyn KeyProvider>) -> Run<Options> {
        let files = self.mirrors.iter().filter(|mirror| bucket_url(mirror).is_none()).cloned();
        let mut urls = self.mirrors.iter().filter_map(|mirror| bucket_url(mirror));
        let options = Options::new(dir, files, Arc::clone(provider));
        urls.try_fold(options, |options, url| Ok(options.mirror_in(place(url)?)))
    }
}

fn around(options: Options) -> Run<(Store, Option<Error>)> {
    // Not in salvage at once: that also passes over a journal that its writer is just archiving.
    match Store::open_read_only(options.clone().recovery(Recovery::Strict)) {
        Err(e) if e.damaged_file().is_some() => {
            Ok((Store::open_read_only(options.recovery(Recovery::Salvage))?, Some(e)))
        }
        opened => Ok((opened?, None)),
    }
}

/// One site of a store; one that was erased is told by its name.
pub(crate) fn site(store: &Store, id: &SiteId) -> Run<Site> {
    store.site(id).map_err(|e| match e {
        Error::Erased => Failure::new(
            Exit::Gone,
            format!("the site {id} was erased"),
            "That is final: nobody can read it any more, here or in any copy. The name may be \
             given to a new site: reelvault site add SITE",
        ),
        e => e.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_mirrors_may_name_buckets() {
        let found = split(b"/a/keyring:s3://keys/shop::b:gs://keys");
        assert_eq!(found, ["/a/keyring", "s3://keys/shop", "b", "gs://keys"].map(PathBuf::from));
        assert_eq!(bucket_url(&found[1]), Some("s3://keys/shop"));
        assert_eq!(bucket_url(&found[0]), None);
    }
}
