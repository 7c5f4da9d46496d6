//! Host names in requests, and the address of whoever asks.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};
use ipnet::IpNet;

/// The name in a `Host` header or an authority, without its port; `None` if it is none.
pub(crate) fn name_of(host: &str) -> Option<&str> {
    let name = if host.starts_with('[') {
        let end = host.find(']')?;
        let rest = &host[end + 1..];
        if !(rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        &host[..=end]
    } else {
        match host.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return None,
            None => host,
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b);
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(plain)).then_some(name)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// The host that a request names: one, in its address or in its one `Host` header, and the same in both.
pub(crate) fn of_request<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut given = headers.get_all(header::HOST).iter();
    let in_header = given.next().map(|h| h.to_str().ok().and_then(name_of));
    if given.next().is_some() {
        return None;
    }
    let in_uri = uri.authority().map(|a| name_of(a.as_str()));
    match (in_uri, in_header) {
        (Some(name), None) | (None, Some(name)) => name,
        (Some(a), Some(b)) => a.filter(|a| b.is_some_and(|b| a.eq_ignore_ascii_case(b))),
        (None, None) => None,
    }
}

/// The address of whoever asks: the connection's, unless that is a trusted proxy's, which then says so. Of several proxies
/// the last one that is not trusted counts.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut at = peer.to_canonical();
    if !is_trusted(at) {
        return at;
    }
    let all: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|h| h.to_str().ok())
        .flat_map(|h| h.split(','))
        .collect();
    for text in all.into_iter().rev() {
        // What cannot be read ends the chain: the proxy that wrote it is whom we know.
        let Ok(ip) = text.trim().parse::<IpAddr>() else { break };
        at = ip.to_canonical();
        if !is_trusted(at) {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_perhaps_a_port() {
        assert_eq!(name_of("a.example:443"), Some("a.example"));
        assert_eq!(name_of("[::1]:8443"), Some("[::1]"));
        assert_eq!(name_of("[::1]"), Some("[::1]"));
        for bad in
            ["", ":1", "a:b", "a:", "a b", "a/b", "a@b", "[::1", "[::1]x", "a:1:2", "a:123456"]
        {
            assert_eq!(name_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2".parse().unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(client(ip("9.9.9.9"), &headers, &trusted), ip("9.9.9.9"));
        assert_eq!(client(ip("10.0.0.1"), &headers, &trusted), ip("1.2.3.4"));
        assert_eq!(client(ip("::ffff:10.0.0.1"), &headers, &trusted), ip("1.2.3.4"));
        assert_eq!(client(ip("10.0.0.1"), &HeaderMap::new(), &trusted), ip("10.0.0.1"));
        headers.insert("x-forwarded-for", "1.2.3.4, rubbish".parse().unwrap());
        assert_eq!(client(ip("10.0.0.1"), &headers, &trusted), ip("10.0.0.1"));
    }
}
