//! Accepting connections under TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::layer;
use crate::limits::{
    HANDSHAKE_TIME_MAX, HEADER_BYTES_MAX, HEADER_TIME_MAX, HEADERS_MAX, RESETS_MAX, STREAMS_MAX,
    TLS_BUFFER_BYTES_MAX,
};
use crate::monitor::metrics::Kind;
use crate::shares::Shares;

use super::Connected;
use super::activity::{Activity, Over};
use super::watched::{Pace, Watched};

/// The TLS side of the service: 1.3 and 1.2, HTTP/2 and HTTP/1.1.
pub(crate) fn tls(app: &App) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(app.certificates.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What the listeners share.
pub(crate) struct Listeners {
    app: Arc<App>,
    router: Router,
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    addresses: Arc<Shares>,
    stop: watch::Receiver<bool>,
}

impl Listeners {
    pub(crate) fn new(
        app: Arc<App>,
        router: Router,
        tls: ServerConfig,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(app.config.limits.connections as usize));
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Self { app, router, acceptor, places, addresses: Arc::default(), stop }
    }

    /// Accepts until the service stops. Connections go on by themselves, and are counted by `places`.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of descriptors: the next moment may be better.
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let refused = |kind| self.app.metrics.refused.get_or_create(&Kind { kind }).inc();
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                refused("connections");
                continue;
            };
            let ip = peer.ip().to_canonical();
            let trusted = self.app.config.proxy.trusted.iter().any(|net| net.contains(&ip));
            let most =
                if trusted { u32::MAX } else { self.app.config.limits.connections_per_address };
            let Some(of_address) = self.addresses.enter(ip, most) else {
                refused("connections_per_address");
                continue;
            };
            let listeners = Arc::clone(&self);
            tokio::spawn(async move {
                let _places = (place, of_address);
                listeners.app.metrics.connections.inc();
                listeners.serve(stream, peer).await;
                listeners.app.metrics.connections.dec();
            });
        }
    }

    /// Waits until all connections have ended, or the time is over.
    pub(crate) async fn wait(&self, time: Duration) {
        let all = self.app.config.limits.connections;
        let _ = tokio::time::timeout(time, self.places.acquire_many(all)).await;
    }

    async fn serve(&self, stream: TcpStream, peer: std::net::SocketAddr) {
        // Replies are written whole; waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        let handshake = self.acceptor.accept(stream);
        let mut stream = match tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => {
                self.app.metrics.refused.get_or_create(&Kind { kind: "handshake" }).inc();
                return;
            }
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        let sni = stream.get_ref().1.server_name().map(str::to_owned);
        let activity = Activity::new(self.pace());
        let connected = Connected { peer, sni, activity: Arc::clone(&activity) };
        let stream = Watched::new(stream, Arc::clone(&activity));
        let service = service_fn(move |request| {
            let (app, router) = (Arc::clone(&self.app), self.router.clone());
            let connected = connected.clone();
            async move {
                Ok::<_, std::convert::Infallible>(
                    layer::handle(app, router, connected, request).await,
                )
            }
        });
        let builder = builder();
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.clone();
        let mut leaving = false;
        loop {
            tokio::select! {
                // How a connection ended is between its client and the network.
                _ = connection.as_mut() => return,
                _ = stop.wait_for(|stop| *stop), if !leaving => {}
                over = activity.over() => match over {
                    Over::Idle if !leaving => activity.rest(),
                    // The client was told, and is still there after the same time again.
                    Over::Idle => return,
                    Over::Stalled => {
                        self.app.metrics.refused.get_or_create(&Kind { kind: "stalled" }).inc();
                        return;
                    }
                },
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
    }

    fn pace(&self) -> Pace {
        let limits = &self.app.config.limits;
        let seconds = |n: u32| Duration::from_secs(n.into());
        Pace {
            idle: seconds(limits.idle_seconds),
            stall: seconds(limits.stall_seconds),
            bytes_per_second_min: limits.bytes_per_second_min,
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_send_buf_size(128 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
