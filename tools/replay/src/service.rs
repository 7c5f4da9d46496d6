//! Starting and stopping the service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use reelvault::env::Env;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::app::App;
use crate::config::Config;
use crate::monitor::{checks, scrub};
use crate::sealed_log::LogError;
use crate::source::Source;
use crate::tls::certificates::CertificateError;
use crate::tls::listen::{self, Listeners};
use crate::tls::redirect;
use crate::{api, monitor};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Listening failed.
    #[error("listening on {at}: {cause}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// The system's answer.
        #[source]
        cause: std::io::Error,
    },
    /// The folder of state, or a file, cannot be used.
    #[error("{}: {cause}", .path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: std::io::Error,
    },
    /// An issuer of the configuration cannot be used.
    #[error("an issuer: {0}")]
    Issuer(String),
    /// The log of incidents.
    #[error("the log of incidents: {0}")]
    Log(LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] reelvault::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The runtime.
    #[error("starting threads: {0}")]
    Runtime(std::io::Error),
}

/// How often checks run.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often what is kept of callers is pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How long the threads that still work are waited for at the end.
const END_TIME_MAX: Duration = Duration::from_secs(2);

/// A service that runs. Dropping it stops it at once; [`stop`](Self::stop) lets replays end.
pub struct Running {
    app: Arc<App>,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    listeners: Arc<Listeners>,
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    scrub: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("https", &self.https).finish_non_exhaustive()
    }
}

/// Starts the service: when this returns, it answers.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(config: Config, env: Env, source: Arc<dyn Source>) -> Result<Running, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("replay")
        .max_blocking_threads(128)
        .build()
        .map_err(StartError::Runtime)?;
    let app = Arc::new(App::new(config, env, source)?);
    app.checks.refreshed(true, app.env.clock.now_ms());
    checks::run(&app);
    let router = api::router(Arc::clone(&app));
    let tls = listen::tls(&app).map_err(|e| StartError::Tls(e.to_string()))?;
    let (stop, stopped) = watch::channel(false);
    let listeners = Listeners::new(Arc::clone(&app), router, tls, stopped);
    let mut running = Running {
        listeners: Arc::new(listeners),
        app,
        runtime: Some(runtime),
        stop,
        https: Vec::new(),
        http: Vec::new(),
        metrics: None,
        scrub: None,
    };
    running.listen()?;
    running.work()?;
    Ok(running)
}

impl Running {
    /// Where TLS is listened on.
    #[must_use]
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where plain HTTP is redirected.
    #[must_use]
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where metrics are read without TLS.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Takes in what is new in the store now, and runs the checks; by itself it happens every few seconds.
    pub fn refresh(&self) {
        refresh(&self.app);
        checks::run(&self.app);
    }

    fn listen(&mut self) -> Result<(), StartError> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let bind = |at: SocketAddr| {
            let bound = runtime.block_on(TcpListener::bind(at));
            let bound = bound.and_then(|l| Ok((l.local_addr()?, l)));
            bound.map_err(|cause| StartError::Listen { at, cause })
        };
        let listen = &self.app.config.listen;
        for at in &listen.https {
            let (at, listener) = bind(*at)?;
            self.https.push(at);
            runtime.spawn(Arc::clone(&self.listeners).run(listener));
        }
        let first = self.https.first().map_or(443, SocketAddr::port);
        let port = redirect::port(self.app.config.public_url.as_deref(), first);
        for at in &listen.http {
            let (at, listener) = bind(*at)?;
            self.http.push(at);
            let certificates = Arc::clone(&self.app.certificates);
            runtime.spawn(redirect::run(listener, certificates, port));
        }
        if let Some(at) = listen.metrics {
            let (at, listener) = bind(at)?;
            self.metrics = Some(at);
            runtime.spawn(monitor::plain::run(listener, Arc::clone(&self.app)));
        }
        Ok(())
    }

    /// Starts what goes on beside the requests.
    fn work(&mut self) -> Result<(), StartError> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let every = Duration::from_secs(self.app.config.refresh_seconds.into());
        repeat(runtime, &self.app, every, refresh);
        repeat(runtime, &self.app, CHECK_EVERY, checks::run);
        repeat(runtime, &self.app, PRUNE_EVERY, |app| app.rates.prune());
        let reload = Duration::from_secs(self.app.config.tls.reload_seconds.into());
        repeat(runtime, &self.app, reload, |app| app.certificates.reload());
        let app = Arc::clone(&self.app);
        let scrub = std::thread::Builder::new().name("scrub".into()).spawn(move || {
            let stopped = || app.is_stopping();
            scrub::run(&app.scrub, &app.source, &app.metrics, &app.config.scrub, &stopped);
        });
        self.scrub = Some(scrub.map_err(StartError::Runtime)?);
        Ok(())
    }

    /// Stops: no new connections, open replays may end in their time, and what is waiting is written.
    pub fn stop(mut self) {
        self.app.stopping.store(true, Relaxed);
        let _ = self.stop.send(true);
        let time = Duration::from_secs(self.app.config.stop_seconds.into());
        if let Some(runtime) = &self.runtime {
            runtime.block_on(self.listeners.wait(time));
        }
        self.end();
    }

    fn end(&mut self) {
        self.app.stopping.store(true, Relaxed);
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END_TIME_MAX);
        }
        if let Some(scrub) = self.scrub.take() {
            // A thread that panicked has said so.
            let _ = scrub.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Does something that blocks, again and again, never twice at once.
fn repeat(
    runtime: &Runtime,
    app: &Arc<App>,
    every: Duration,
    work: impl Fn(&App) + Clone + Send + 'static,
) {
    let app = Arc::clone(app);
    runtime.spawn(async move {
        while !app.is_stopping() {
            tokio::time::sleep(every).await;
            let (app, work) = (Arc::clone(&app), work.clone());
            let done = tokio::task::spawn_blocking(move || work(&app));
            if done.await.is_err() {
                tracing::error!("work in the background panicked");
            }
        }
    });
}

fn refresh(app: &App) {
    let refreshed = app.source.refresh();
    if let Err(e) = &refreshed {
        tracing::warn!(error = %e, source = app.source.name(), "what is new cannot be taken in");
        if let Some(file) = e.damaged_file() {
            app.scrub.met(&file);
        }
    }
    app.checks.refreshed(refreshed.is_ok(), app.env.clock.now_ms());
}
