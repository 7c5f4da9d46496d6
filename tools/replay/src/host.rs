//! Host names in requests, and the address of whoever asks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// The address; if that is not known, the one of the proxy that knows it.
    pub(crate) ip: IpAddr,
    pub(crate) is_known: bool,
}

/// For the audit log.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_known {
            true => write!(f, "{}", self.ip),
            false => write!(f, "unknown, by {}", self.ip),
        }
    }
}

/// The address of whoever asks: the connection's, unless that is a trusted proxy's, which then says so. Of several proxies
/// the last one that is not trusted counts.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Asker {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut ip = peer.to_canonical();
    if !is_trusted(ip) {
        return Asker { ip, is_known: true };
    }
    // As bytes: a client may have sent what is no text, and a proxy has added its own word behind that.
    let all = headers.get_all("x-forwarded-for").iter();
    let all: Vec<&[u8]> = all.flat_map(|h| h.as_bytes().split(|b| *b == b',')).collect();
    for said in all.into_iter().rev() {
        // What cannot be read ends the chain: the proxy that wrote it is whom we know.
        let Some(said) = address(said) else { return Asker { ip, is_known: false } };
        ip = said;
        if !is_trusted(ip) {
            break;
        }
    }
    Asker { ip, is_known: true }
}

/// An address as proxies write it, perhaps in brackets, perhaps with a port.
fn address(said: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(said).ok()?.trim();
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().ok()?.into(),
        None => match text.parse::<SocketAddr>() {
            Ok(with_port) => with_port.ip(),
            Err(_) => text.parse::<IpAddr>().ok()?,
        },
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let asker = |peer: &str, said: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in said {
                let value = HeaderValue::from_bytes(value).unwrap();
                headers.append("x-forwarded-for", value);
            }
            client(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        let chain: [&[u8]; 1] = [b"6.6.6.6, 1.2.3.4, 10.0.0.2"];
        assert_eq!(asker("9.9.9.9", &chain), "9.9.9.9");
        assert_eq!(asker("10.0.0.1", &chain), "1.2.3.4");
        assert_eq!(asker("::ffff:10.0.0.1", &chain), "1.2.3.4");
        assert_eq!(asker("10.0.0.1", &[]), "10.0.0.1");
        // A proxy adds its word to whatever the client has sent, in the same header or in another one.
        assert_eq!(asker("10.0.0.1", &[b"\xff, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(asker("10.0.0.1", &[b"\xff", b"1.2.3.4"]), "1.2.3.4");
        for said in ["1.2.3.4:80", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]:80"] {
            assert_eq!(asker("10.0.0.1", &[said.as_bytes()]), "1.2.3.4", "{said}");
        }
        // What it says is no address: whose request it is, nobody knows.
        for said in ["1.2.3.4, rubbish", "1.2.3.4,", "", "1.2.3.4, unknown", "[1.2.3.4]", "1.2.3"] {
            assert_eq!(asker("10.0.0.1", &[said.as_bytes()]), "unknown, by 10.0.0.1", "{said}");
        }
        assert_eq!(asker("10.0.0.1", &[b"1.2.3.4, \xff, 10.0.0.2"]), "unknown, by 10.0.0.2");
    }
}
