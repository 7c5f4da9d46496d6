//! Plain HTTP: nothing but a redirect to the same place under TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::limits::{HEADER_TIME_MAX, URI_BYTES_MAX};

use super::certificates::Certificates;

/// Redirects at a time: each is one small read and one small write.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of a head that are read.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The port that an https address need not name.
const HTTPS_PORT: u16 = 443;

/// The port under which people reach TLS: that of the public address, where there is one, for a proxy or a router may stand before
/// the port that is listened on.
pub(crate) fn port(public_url: Option<&str>, listened: u16) -> u16 {
    let public = public_url.and_then(|url| url.parse::<Uri>().ok());
    let public = public.filter(|url| url.scheme() == Some(&Scheme::HTTPS));
    public.map_or(listened, |url| url.port_u16().unwrap_or(HTTPS_PORT))
}

/// Answers until it is dropped.
pub(crate) async fn run(listener: TcpListener, certificates: Arc<Certificates>, port: u16) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the next moment may be better.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let certificates = Arc::clone(&certificates);
        tokio::spawn(async move {
            let _place = place;
            let _ =
                tokio::time::timeout(HEADER_TIME_MAX, answer(stream, &certificates, port)).await;
        });
    }
}

async fn answer(
    mut stream: TcpStream,
    certificates: &Certificates,
    port: u16,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut some = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut some).await?;
        if n == 0 || head.len() + n > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&some[..n]);
    }
    let answer = match target(&head, certificates, port) {
        Some(target) => format!(
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
        None => "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Where to go: only to a host that is ours, and only with what may stand in a header.
fn target(head: &[u8], certificates: &Certificates, port: u16) -> Option<String> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut request = lines.next()?.split(' ');
    let (_method, path, version) = (request.next()?, request.next()?, request.next()?);
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    let fine = version.starts_with("HTTP/1.") && request.next().is_none();
    if !fine || !path.starts_with('/') || path.len() > URI_BYTES_MAX || !plain(path) {
        return None;
    }
    let mut hosts = lines.filter_map(|l| l.split_once(':'));
    let host = hosts.find(|(name, _)| name.eq_ignore_ascii_case("host"))?.1.trim();
    let name = crate::host::name_of(host)?;
    certificates.host(name)?;
    let port = match port {
        HTTPS_PORT => String::new(),
        port => format!(":{port}"),
    };
    Some(format!("https://{name}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_to_the_public_port() {
        assert_eq!(port(None, 8443), 8443);
        assert_eq!(port(Some("https://replay.example"), 8443), 443);
        assert_eq!(port(Some("https://replay.example/"), 8443), 443);
        assert_eq!(port(Some("https://replay.example:9443"), 8443), 9443);
        assert_eq!(port(Some("https://[::1]:9443/"), 8443), 9443);
        // What is no address of TLS says nothing of its port.
        assert_eq!(port(Some("http://replay.example"), 8443), 8443);
        assert_eq!(port(Some("replay example"), 8443), 8443);
    }
}
