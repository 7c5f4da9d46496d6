//! `serve`: the replay service over a store.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use reelvault::Store;
use reelvault::env::Env;
use reelvault_replay::config::{Config, ConfigError, Init, InitError, init};
use reelvault_replay::{Backups, LiveStore, Source, StartError};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::access::StoreArgs;
use crate::exit::{Exit, Failure, Run};
use crate::interrupt::{self, Guard};
use crate::memory;
use crate::output::{self, Out};

pub(crate) const EXAMPLES: &str = "\
Examples:
  reelvault serve init --config serve/serve.toml --host replay.example
  reelvault --store /srv/recordings serve --config serve/serve.toml
  reelvault serve --config serve/serve.toml --repo s3://backups/reelvault
  reelvault serve link admin --config serve/serve.toml
  reelvault serve password < password.txt

With --repo the newest snapshot is served where it lies; newer ones appear by
themselves, and nothing can be erased or held from the page. Else the store is
opened for reading; another process may write to it meanwhile. Erasing and
holding from the page work where no other process does. The logs, JSON, go to
standard error. Ctrl-C lets replays end.";

const INIT_EXAMPLES: &str = "\
Examples:
  reelvault serve init --config serve/serve.toml
  reelvault serve init --config serve.toml --host replay.example \\
      --listen [::]:443";

const LINK_EXAMPLES: &str = "\
Examples:
  reelvault serve link admin --config serve/serve.toml";

const PASSWORD_EXAMPLES: &str = "\
Examples:
  reelvault serve password < password.txt";

/// How often it is looked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Serve the newest snapshot in a repository in place of the store: a directory, file:///DIR,
    /// s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX
    #[arg(long, value_name = "URL", env = "REELVAULT_SERVE_REPO", hide_env_values = true)]
    repo: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "REELVAULT_SERVE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a configuration, a self-signed certificate, and a first sign-in link
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        #[command(flatten)]
        config: ConfigArgs,
        /// A host name of the service; give it once for each
        #[arg(long = "host", value_name = "NAME", default_value = "localhost")]
        hosts: Vec<String>,
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
        listen: SocketAddr,
    },
    /// Print a link that signs a local user in, once, within a day
    #[command(after_help = LINK_EXAMPLES)]
    Link {
        /// The user's name in the configuration
        user: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Read a password from standard input and print its hash, for the configuration
    #[command(after_help = PASSWORD_EXAMPLES)]
    Password,
}

impl Args {
    /// The name of the command in JSON.
    pub(crate) fn name(&self) -> &'static str {
        match &self.what {
            None => "serve",
            Some(What::Init { .. }) => "serve init",
            Some(What::Link { .. }) => "serve link",
            Some(What::Password) => "serve password",
        }
    }
}

impl ConfigArgs {
    fn path(&self) -> Run<&Path> {
        self.config.as_deref().ok_or_else(|| {
            Failure::usage(
                "which configuration?",
                "Name it with --config or REELVAULT_SERVE_CONFIG. To make one: reelvault serve \
                 init --config FILE",
            )
        })
    }

    fn load(&self) -> Run<Config> {
        Ok(Config::load(self.path()?)?)
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        Self::usage(e.to_string(), "")
    }
}

impl From<StartError> for Failure {
    fn from(e: StartError) -> Self {
        match e {
            StartError::Store(e) => e.into(),
            e => Self::new(Exit::Failed, e.to_string(), ""),
        }
    }
}

#[derive(Serialize)]
struct Serving {
    https: Vec<String>,
    http: Vec<String>,
    metrics: Option<String>,
    url: String,
}

#[derive(Serialize)]
struct InitBody {
    config: String,
    certificate: String,
    link: String,
}

#[derive(Serialize)]
struct LinkBody {
    link: String,
}

#[derive(Serialize)]
struct PasswordBody {
    hash: String,
}

pub(crate) fn run(store: &StoreArgs, args: &Args, out: &mut Out) -> Run {
    match &args.what {
        None => serve(store, args, out),
        Some(What::Init { config, hosts, listen }) => {
            let what =
                Init { config: config.path()?.to_owned(), hosts: hosts.clone(), listen: *listen };
            make(&what, out)
        }
        Some(What::Link { user, config }) => {
            let link = reelvault_replay::make_link(&Env::real(), &config.load()?, user);
            let link = link.map_err(|e| Failure::io("making the link", &e))?;
            match out.is_json() {
                true => out.document(&LinkBody { link })?,
                false => out.line(link)?,
            }
            Ok(Exit::Done)
        }
        Some(What::Password) => password(out),
    }
}

/// What is served: the store, or its backups.
fn source(store: &StoreArgs, repo: Option<&str>) -> Run<Arc<dyn Source>> {
    let access = store.access()?;
    if let Some(repo) = repo {
        let repository = access.repository(repo, false)?;
        return Ok(Arc::new(Backups::new(repository, Env::real().clock)?));
    }
    let options = access.quiet_options()?;
    let opened = Store::open_read_only(options.clone())?;
    Ok(Arc::new(LiveStore::new(opened, Some(Box::new(move || Store::open(options.clone()))))))
}

fn serve(store: &StoreArgs, args: &Args, out: &mut Out) -> Run {
    memory::few_arenas();
    let config = &args.config.load()?;
    let source = source(store, args.repo.as_deref())?;
    // From here on Ctrl-C is waited for, and replays end before the service does.
    let _guard = Guard::new();
    reelvault_replay::logs::begin();
    let url = config.public_url();
    let running = reelvault_replay::start(config.clone(), Env::real(), source)?;
    let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    if out.is_json() {
        out.document(&Serving {
            https: texts(running.https()),
            http: texts(running.http()),
            metrics: running.metrics().map(|at| at.to_string()),
            url,
        })?;
    } else {
        out.line(format_args!("serving {url} on {}", texts(running.https()).join(", ")))?;
    }
    out.flush()?;
    while !interrupt::is_set() {
        std::thread::sleep(LOOK_EVERY);
    }
    running.stop();
    Ok(Exit::Done)
}

fn make(what: &Init, out: &mut Out) -> Run {
    let made = init(&Env::real(), what).map_err(|e| match e {
        InitError::Exists(_) => Failure::new(
            Exit::Failed,
            e.to_string(),
            "Nothing is overwritten. Name another place, or use what is there; a new link is made \
             by: reelvault serve link admin",
        ),
        InitError::Config(e) => e.into(),
        e => Failure::new(Exit::Failed, e.to_string(), ""),
    })?;
    if out.is_json() {
        out.document(&InitBody {
            config: made.config.display().to_string(),
            certificate: made.certificate.display().to_string(),
            link: made.link,
        })?;
    } else {
        out.pairs([
            ("configuration", made.config.display().to_string()),
            ("certificate", made.certificate.display().to_string()),
            ("sign in", made.link),
        ])?;
    }
    out.flush()?;
    output::note("the link works once, for a day, and signs in as admin of all sites");
    output::note("nobody knows the certificate: browsers warn until you put your own in its place");
    Ok(Exit::Done)
}

fn password(out: &mut Out) -> Run {
    let mut text = Zeroizing::new(Vec::with_capacity(4097));
    let read = std::io::stdin().take(4096).read_to_end(&mut text);
    read.map_err(|e| Failure::io("reading the password", &e))?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    let hash = reelvault_replay::auth::local::hash(&*Env::real().random, &text);
    let hash = hash.map_err(|e| Failure::usage(e.to_string(), "Nothing was made."))?;
    match out.is_json() {
        true => out.document(&PasswordBody { hash })?,
        false => out.line(hash)?,
    }
    Ok(Exit::Done)
}
