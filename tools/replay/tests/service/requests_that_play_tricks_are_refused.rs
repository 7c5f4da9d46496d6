//! The penetration tester: paths, hosts, headers, sizes, times, other sites' pages.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::common::client::read_reply;
use crate::common::{self, OTHER, SHOP, World};

#[test]
fn no_path_leads_out_of_what_is_there() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer", "exporter", "auditor", "admin"]);
    let theirs = world.session(OTHER);
    for path in [
        "/../../etc/passwd",
        "/assets/../serve.toml",
        "/assets/..%2f..%2fserve.toml",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/%252e%252e/x",
        "/assets/%00",
        "/assets//etc/passwd",
        "//v1/me",
        "/v1//me",
        "/v1/me/",
        "/V1/me",
        "/v1/me%00",
        "/v1/sites/shop.example/../dash.example/sessions",
        "/v1/sites/shop.example%2f..%2fdash.example/sessions",
        "/v1/sites/shop.example%252f/sessions",
        "/v1/sites/shop.example;x=1/sessions",
        "/v1/sites/shop.example/sessions/%2e%2e",
        "/v1/sites/shop.example/sessions/..%2f..%2fdash.example%2fsessions%2fx/events",
        "/v1/sites/shop.example/sessions/%ff%fe",
        "/v1/sites/shop.example/sessions/a%00b/events",
        "/v1/sites/shop.example/sessions/a%0d%0aset-cookie:x/events",
        "/v1/sites//sessions",
    ] {
        let reply = viewer.get(path);
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{path}");
        assert!(reply.header("set-cookie").is_none());
        assert!(!reply.text().contains("root:"), "{path}");
    }
    let direct = viewer.get(&format!("/v1/sites/{SHOP}/sessions/{theirs}/events"));
    assert_eq!(direct.status, 404);
    let queries = [
        "from=1&from=2",
        "from=-1",
        "from=1e3",
        "limit=0",
        "limit=1001",
        "limit=%31%zz",
        "order=up",
        "unknown=1",
        "from=99999999999999999999",
        "visitor=",
        "visitor=a%0Ab",
        "from=2&to=1",
    ];
    for query in queries {
        let reply = viewer.get(&format!("/v1/sites/{SHOP}/sessions?{query}"));
        assert_eq!(reply.status, 400, "{query}: {reply:?}");
    }
}

#[test]
#[ignore = "slow: it waits for as long as the service does"]
fn a_request_has_one_host_and_one_length() {
    let world = World::new();
    let service = world.serve();
    let client = service.client();
    let token = world.issuer.token(SHOP, &["viewer"]);
    let host = &client.host;
    let smuggled =
        format!("GET /v1/me HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n");
    let n = smuggled.len();
    for (what, request) in [
        ("two hosts", format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nhost: evil.test\r\n\r\n")),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".into()),
        (
            "another host in the address",
            format!("GET https://evil.test/healthz HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ),
        ("a host with a user", format!("GET /healthz HTTP/1.1\r\nhost: x@{host}\r\n\r\n")),
        ("a host with a path", format!("GET /healthz HTTP/1.1\r\nhost: {host}/x\r\n\r\n")),
        (
            "length and chunks",
            format!(
                "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {n}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\ncontent-length: {n}\r\n\r\n{smuggled}"
            ),
        ),
        (
            "odd chunks",
            format!(
                "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a length with a sign",
            format!(
                "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-length: +5\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a bare line feed in a name",
            format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx\n: y\r\n\r\n"),
        ),
        ("a space before the colon", format!("GET /healthz HTTP/1.1\r\nhost : {host}\r\n\r\n")),
        ("a NUL", format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nx: a\0b\r\n\r\n")),
        ("no version", "GET /healthz\r\n\r\n".into()),
        ("another protocol", "\x16\x03\x01 rubbish\r\n\r\n".into()),
    ] {
        let mut tls = client.connect().unwrap();
        let _ = tls.write_all(request.as_bytes());
        let first = read_reply(&mut tls, false);
        if let Some(first) = &first {
            assert!((400..500).contains(&first.status), "{what}: {first:?}");
        }
        // What was hidden in the body is no request.
        let _ = tls.sock.set_read_timeout(Some(Duration::from_secs(2)));
        let second = read_reply(&mut tls, false);
        assert!(second.is_none_or(|r| r.status >= 400), "{what}");
    }
    // A host that is not the handshake's, and one that is nobody's.
    assert_eq!(client.host("service.test").get("/healthz").status, 421);
    assert_eq!(client.host("evil.test").get("/healthz").status, 421);
    assert_eq!(
        client.host("LOCALHOST:1").get("/healthz").status,
        200,
        "case and port do not count"
    );
    // Forwarded addresses and methods that nobody believes.
    let lying = client.with("x-forwarded-for", "10.0.0.1").with("x-http-method-override", "DELETE");
    assert_eq!(lying.get("/healthz").status, 200);
    for method in ["PUT", "PATCH", "TRACE", "CONNECT", "PROPFIND"] {
        let reply = client.raw(
            format!("{method} / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(reply.is_none_or(|r| (400..=405).contains(&r.status)), "{method}");
    }
}

#[test]
fn everything_has_a_size() {
    let world = World::new();
    let service = world.serve();
    let client = service.client();
    let long = "a".repeat(40_000);
    let refused = |reply: Option<common::client::Reply>, what: &str| {
        assert!(reply.as_ref().is_none_or(|r| (400..500).contains(&r.status)), "{what}: {reply:?}");
    };
    let host = &client.host;
    let head = |rest: &str| format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n{rest}\r\n");
    refused(client.raw(head(&format!("x: {long}\r\n")).as_bytes()), "a long header");
    let many: String = (0..200).map(|n| format!("x{n}: y\r\n")).collect();
    refused(client.raw(head(&many).as_bytes()), "many headers");
    refused(
        client.raw(format!("GET /{long} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()),
        "a long path",
    );
    let path = format!("/{}", "a".repeat(5_000));
    assert_eq!(client.get(&path).status, 414);
    let big = format!("{{\"user\":\"a\",\"password\":\"{long}\"}}");
    assert_eq!(client.post("/auth/login", &big).status, 413);
    let chunked = format!(
        "POST /auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
        big.len()
    );
    assert_eq!(client.raw(chunked.as_bytes()).unwrap().status, 413);
    let deep = format!("{{\"token\":{}", "[".repeat(10_000));
    assert_eq!(client.post("/auth/link", &deep).status, 400);
    for body in ["", "null", "[]", "{\"token\":1}", "{\"token\":\"x\",\"more\":1}", "\u{0}"] {
        assert_eq!(client.post("/auth/link", body).status, 400, "{body:?}");
    }
    let form = client.with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.post("/auth/login", "user=a&password=b").status, 415);
}

#[test]
#[ignore = "slow: it waits for as long as the service does"]
fn who_sends_or_takes_too_slowly_is_cut_off() {
    let world = World::new();
    let service = world.serve_with("[limits]\nidle_seconds = 2\nstall_seconds = 2\n");
    let client = service.client();
    // A header that comes a byte at a time.
    let begun = Instant::now();
    let mut tls = client.connect().unwrap();
    let slowly =
        format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nx: {}", client.host, "y".repeat(1_000));
    let mut cut = false;
    for byte in slowly.bytes() {
        if begun.elapsed() > Duration::from_secs(25) || tls.write_all(&[byte]).is_err() {
            cut = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(cut && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // A connection that says nothing, before and after the handshake.
    let begun = Instant::now();
    let mut silent = client.connect().unwrap();
    let mut plain = std::net::TcpStream::connect(client.at).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(plain.read(&mut [0; 8]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // A body that never comes.
    let mut tls = client.connect().unwrap();
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n",
        client.host
    );
    tls.write_all(head.as_bytes()).unwrap();
    let reply = read_reply(&mut tls, false);
    assert!(reply.is_none_or(|r| r.status == 408 || r.status == 400));
    // Others are served all the while.
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn another_sites_page_can_make_nobody_do_anything() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let id = world.session(SHOP);
    let hold = format!("/v1/sites/{SHOP}/sessions/{id}/hold");
    let reason = "{\"reason\":\"x\"}";
    assert_eq!(admin.get("/v1/me").status, 200);
    for (name, value) in [
        ("x-reelvault", "0"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("origin", "http://localhost"),
    ] {
        let forged = admin.with(name, value);
        assert_eq!(forged.post(&hold, reason).status, 403, "{name}: {value}");
        if name != "x-reelvault" {
            assert_eq!(forged.get("/v1/me").status, 403, "{name}: {value}");
            let login = service.client().with(name, value);
            assert_eq!(login.post("/auth/login", "{}").status, 403, "{name}: {value}");
        }
        assert_eq!(forged.post("/auth/logout", "").status, 403);
    }
    let plain = admin.with("content-type", "text/plain");
    assert_eq!(plain.post(&hold, reason).status, 415);
    let own = admin.with("origin", &format!("https://{}", admin.host));
    assert_eq!(own.get("/v1/me").status, 200);
    // Two cookies of the name: somebody else set one.
    let cookie = admin.headers.iter().find(|(n, _)| n == "cookie").unwrap().1.clone();
    let two = admin.with("cookie", &format!("__Host-reelvault=x; {cookie}"));
    assert_eq!(two.get("/v1/me").status, 401);
    let site = world.site(SHOP).session(&common::session_id(&id)).unwrap();
    assert!(!site.held, "nothing was done");
}

/// A recorded page is shown within ours: what it loads comes from the same site, cookie and all.
#[test]
fn what_a_recorded_page_loads_is_refused_and_recorded_as_nothing() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let id = world.session(SHOP);
    let export = format!("/v1/sites/{SHOP}/export?from=1");
    let events = format!("/v1/sites/{SHOP}/sessions/{id}/events");
    for dest in ["image", "style", "font", "iframe", "video", "script", "Empty", ""] {
        let loaded = admin.with("sec-fetch-dest", dest);
        for path in [&export, &events, "/v1/me"] {
            assert_eq!(loaded.get(path).status, 403, "{dest}: {path}");
            assert_eq!(loaded.send("HEAD", path, None).status, 403, "{dest}: {path}");
        }
    }
    let audit = admin.get(&format!("/v1/sites/{SHOP}/audit"));
    let records = audit.json()["records"].clone();
    let others: Vec<_> =
        records.as_array().unwrap().iter().filter(|r| r["action"] != "audit").collect();
    assert!(others.is_empty(), "{others:?}");
    for dest in ["empty", "document"] {
        assert_eq!(admin.with("sec-fetch-dest", dest).get(&export).status, 200, "{dest}");
    }
}

#[test]
fn every_answer_keeps_scripts_and_strangers_out() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    let list = format!("/v1/sites/{SHOP}/sessions");
    let events = format!("{list}/{}/events", world.session(SHOP));
    for path in [
        "/",
        "/healthz",
        "/status",
        "/v1/status",
        "/nothing",
        "/v1/me",
        &list,
        &events,
        "/openapi.json",
    ] {
        let reply = viewer.get(path);
        let header = |name: &str| reply.header(name).unwrap_or_default().to_owned();
        let policy = header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe-eval") && !policy.contains("script-src 'self' 'unsafe"));
        assert!(header("strict-transport-security").contains("max-age=63072000"));
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-dns-prefetch-control"), "off", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert!(reply.header("access-control-allow-origin").is_none());
        assert!(reply.header("server").is_none());
        if path.starts_with("/v1/sites") {
            assert_eq!(header("cache-control"), "private, no-store");
        }
    }
    // A script in an attribute stays a text in JSON, and is in no page that the service writes.
    let text = viewer.get(&list);
    assert_eq!(text.header("content-type"), Some("application/json"));
    assert!(text.text().contains("<script>alert(1)</script>"));
    let odd = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let reply = viewer.get(&format!("{list}/{odd}"));
    assert!(!reply.text().contains("<script>"), "{reply:?}");
    let export = service
        .with_token(SHOP, &["exporter"])
        .get(&format!("{list}/{}/export", world.session(SHOP)));
    assert!(export.header("content-disposition").unwrap().starts_with("attachment; filename=\""));
}

#[test]
fn who_asks_too_often_waits() {
    let world = World::new();
    let limits = "[limits]\naddress_per_second = 1000\naddress_burst = 1000\ncaller_per_second = 1\ncaller_burst = 3\n";
    let service = world.serve_with(limits);
    let viewer = service.with_token(SHOP, &["viewer"]);
    let replies: Vec<_> = (0..6).map(|_| viewer.get("/v1/me")).collect();
    assert!(replies[..3].iter().all(|r| r.status == 200));
    let limited = replies.iter().find(|r| r.status == 429).unwrap();
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(service.client().get("/v1/status").status, 200, "others do not wait");
    drop(service);
    let service = world.serve_with("[limits]\naddress_per_second = 1\naddress_burst = 3\n");
    let statuses: Vec<u16> = (0..6).map(|_| service.client().get("/healthz").status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    drop(service);
    let service = world.serve_with("[limits]\nconnections_per_address = 2\n");
    let client = service.client();
    let held: Vec<_> = (0..2).map(|_| client.connect().unwrap()).collect();
    assert!(client.raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").is_none());
    drop(held);
}
