//! Metrics without TLS, for this machine alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::app::App;

/// Readers at a time: one monitoring system, and a person who looks.
const READERS_MAX: usize = 8;
const TIME_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 4 << 10;

/// Answers until it is dropped.
pub(crate) async fn run(listener: TcpListener, app: Arc<App>) {
    let places = Arc::new(Semaphore::new(READERS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(TIME_MAX, answer(stream, app)).await;
        });
    }
}

async fn answer(mut stream: TcpStream, app: Arc<App>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut some).await?;
        if n == 0 || head.len() + n > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&some[..n]);
    }
    let (status, text) = match head.starts_with(b"GET /metrics ") {
        true => {
            let made = tokio::task::spawn_blocking(move || app.metrics_text()).await;
            ("200 OK", made.unwrap_or_default())
        }
        false => ("404 Not Found", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        crate::api::METRICS_TYPE,
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
