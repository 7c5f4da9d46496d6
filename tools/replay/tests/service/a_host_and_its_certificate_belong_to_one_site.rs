//! TLS: versions, names, domains of sites, certificates that change, plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{HELP, SHOP, World, certificate};

const DOMAINS: &str = r#"
[[sites]]
id = "shop.example"
domains = [{ host = "replay.shop.test", certificate = "shop.pem", key = "shop.key" }]
[[sites]]
id = "help.example"
domains = [{ host = "replay.help.test", certificate = "help.pem", key = "help.key" }]
"#;

fn with_domains() -> World {
    let world = World::new();
    certificate(
        world.path(),
        "shop",
        &["replay.shop.test", "replay.help.test", "localhost", "x.test"],
    );
    certificate(world.path(), "help", &["replay.help.test"]);
    world
}

#[test]
fn under_a_sites_host_there_is_that_site_alone() {
    let world = with_domains();
    let service = world.serve_with(DOMAINS);
    let token = format!("Bearer {}", world.issuer.token(HELP, &["viewer"]));
    let shop = service.client_for("replay.shop.test", "shop.pem");
    let help = service.client_for("replay.help.test", "help.pem").with("authorization", &token);
    let sessions = |site: &str| format!("/v1/sites/{site}/sessions");
    assert_eq!(help.get(&sessions(HELP)).status, 200);
    assert_eq!(help.get("/v1/sites").json()["sites"].as_array().unwrap().len(), 1);
    // The same token under another site's host: nothing is there.
    let misplaced = shop.with("authorization", &token);
    let theirs = misplaced.get(&sessions(HELP));
    assert_eq!(theirs.status, 404);
    assert_eq!(theirs.anonymous(), misplaced.get(&sessions("no-such-site")).anonymous());
    assert_eq!(misplaced.get(&sessions(SHOP)).anonymous(), theirs.anonymous());
    assert_eq!(misplaced.get("/v1/sites").json()["sites"].as_array().unwrap().len(), 0);
    assert_eq!(misplaced.get("/v1/me").json()["sites"].as_array().unwrap().len(), 0);
    // Whoever may see all sites sees one of them here.
    let cookie = service.admin().headers.iter().find(|(n, _)| n == "cookie").unwrap().1.clone();
    let admin = shop.with("cookie", &cookie);
    assert_eq!(admin.get("/v1/sites").json()["sites"][0]["id"], SHOP);
    assert_eq!(admin.get(&sessions(SHOP)).status, 200);
    assert_eq!(admin.get(&sessions(HELP)).status, 404);
    // The host of a request is that of its handshake.
    assert_eq!(
        shop.host("replay.help.test").with("authorization", &token).get(&sessions(HELP)).status,
        421
    );
    assert_eq!(help.host("localhost").get(&sessions(HELP)).status, 421);
    assert_eq!(service.client().host("replay.help.test").get("/healthz").status, 421);
}

#[test]
fn a_name_that_is_nobodys_gets_no_certificate() {
    let world = with_domains();
    let service = world.serve_with(DOMAINS);
    for name in ["evil.test", "shop.test", "x.replay.shop.test"] {
        let e = service.client_for(name, "service.pem").connect().unwrap_err();
        let told = e.to_string().to_lowercase();
        assert!(told.contains("alert") || told.contains("access"), "{name}: {told}");
    }
    // An address names no site.
    assert!(service.client_for("127.0.0.1", "service.pem").connect().is_err());
    assert_eq!(service.client().get("/healthz").status, 200);
    drop(service);
    let alone = world.serve();
    assert_eq!(alone.client_for("127.0.0.1", "service.pem").get("/healthz").status, 200);
}

#[test]
fn both_versions_of_tls_and_none_before_them() {
    let world = World::new();
    let service = world.serve();
    let new = service.client().connect().unwrap();
    assert_eq!(new.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let old = service.client().old(&world.path().join("service.pem"));
    let old = old.connect().unwrap();
    assert_eq!(old.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    // A hello of TLS 1.0 is answered with an alert, not with a handshake.
    let hello: &[u8] = &[
        0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 2, 0, 0x2f, 1, 0,
    ];
    let mut plain = TcpStream::connect(service.running.https()[0]).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    plain.write_all(hello).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    // And plain HTTP on that port with nothing that could be taken for an answer.
    let mut plain = TcpStream::connect(service.running.https()[0]).unwrap();
    plain.write_all(b"GET /v1/me HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn plain_http_redirects_to_hosts_that_are_ours() {
    let world = World::new();
    let service = world.serve();
    let ask = |request: &str| {
        let mut plain = TcpStream::connect(service.running.http()[0]).unwrap();
        plain.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        plain.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("GET /v1/me?x=1 HTTP/1.1\r\nHost: localhost:80\r\ncookie: secret\r\n\r\n");
    let port = service.running.https()[0].port();
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(
        answer.contains(&format!("location: https://localhost:{port}/v1/me?x=1\r\n")),
        "{answer}"
    );
    for bad in [
        "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost/@evil.test\r\n\r\n",
        "rubbish\r\n\r\n",
    ] {
        assert!(ask(bad).starts_with("HTTP/1.1 400 "), "{bad}");
    }
}

#[test]
fn plain_http_redirects_to_the_port_under_which_people_reach_the_service() {
    let world = World::new();
    let mut config = world.config("");
    config.public_url = Some("https://service.test".into());
    let source = Arc::new(reelvault_replay::LiveStore::new(world.reader(), None));
    let running = reelvault_replay::start(config, reelvault::env::Env::real(), source).unwrap();
    let mut plain = TcpStream::connect(running.http()[0]).unwrap();
    plain.write_all(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("location: https://localhost/x\r\n"), "{answer}");
}

#[test]
#[ignore = "slow: it waits until the service looks again"]
fn a_certificate_that_changes_is_used_without_a_restart() {
    let world = World::new();
    let service = world.serve_with("");
    drop(service);
    let text = std::fs::read_to_string(world.path().join("serve.toml")).unwrap();
    drop(text);
    let service = world.serve_with("");
    assert_eq!(service.client().get("/healthz").status, 200);
    // What cannot be used changes nothing.
    let (pem, key) = (world.path().join("service.pem"), world.path().join("service.key"));
    let (good_pem, good_key) = (std::fs::read(&pem).unwrap(), std::fs::read(&key).unwrap());
    std::fs::write(&pem, "rubbish").unwrap();
    std::thread::sleep(Duration::from_secs(11));
    std::fs::write(world.path().join("old.pem"), &good_pem).unwrap();
    assert_eq!(service.client_for("localhost", "old.pem").get("/healthz").status, 200);
    certificate(world.path(), "service", &["localhost"]);
    let begun = Instant::now();
    while service.client().connect().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(25), "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(service.client_for("localhost", "old.pem").connect().is_err());
    drop(good_key);
}
