//! The penetration tester: every endpoint with every wrong proof of who asks, and with somebody else's site.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::common::client::{Client, Reply};
use crate::common::tokens::{Issuer, Key, forged, now};
use crate::common::{HELP, OTHER, SHOP, World};

/// Every endpoint behind the sign-in that names a site, with the role that it needs.
fn endpoints(site: &str, session: &str) -> Vec<(&'static str, String, &'static str)> {
    let one = format!("/v1/sites/{site}/sessions/{session}");
    vec![
        ("GET", format!("/v1/sites/{site}/sessions"), "viewer"),
        ("GET", one.clone(), "viewer"),
        ("GET", format!("{one}/events"), "viewer"),
        ("HEAD", format!("{one}/events"), "viewer"),
        ("GET", format!("{one}/transcript"), "viewer"),
        ("GET", format!("{one}/export"), "exporter"),
        ("GET", format!("/v1/sites/{site}/export"), "exporter"),
        ("POST", format!("{one}/hold"), "admin"),
        ("DELETE", format!("{one}/hold"), "admin"),
        ("POST", format!("{one}/erase"), "admin"),
        ("GET", format!("/v1/sites/{site}/audit"), "auditor"),
    ]
}

const ALL: [&str; 4] = ["viewer", "exporter", "admin", "auditor"];

fn send(client: &Client, method: &str, path: &str) -> Reply {
    let body = if path.ends_with("/hold") { "{\"reason\":\"x\"}" } else { "{}" };
    client.send(method, path, (method == "POST").then_some(body))
}

/// A token signed with any algorithm and key, under any name of a key.
fn signed(algorithm: Algorithm, kid: &str, claims: &serde_json::Value, key: EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = Some(kid.into());
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// Tokens that are each wrong in one way, in all else as good as any.
fn wrong_tokens(world: &World) -> Vec<(&'static str, String)> {
    let key = &world.issuer.keys[0];
    let good = world.issuer.claims(SHOP, &ALL);
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let rsa = &world.issuer.keys[2];
    let hs256 = |secret: &[u8], kid: &str| {
        signed(Algorithm::HS256, kid, &good, EncodingKey::from_secret(secret))
    };
    let stranger = Key::new("ES256", Algorithm::ES256);
    let mut embedded = Header::new(Algorithm::ES256);
    embedded.jwk = serde_json::from_value(stranger.jwk()).unwrap();
    let embedded = jsonwebtoken::encode(&embedded, &good, &stranger.key).unwrap();
    let valid = key.sign(&good);
    let (head, tail) = valid.rsplit_once('.').unwrap();
    vec![
        ("expired", key.sign(&with("exp", json!(now() - 120)))),
        ("not yet", key.sign(&with("nbf", json!(now() + 600)))),
        ("no expiry", key.sign(&without("exp"))),
        ("wrong audience", key.sign(&with("aud", json!("another service")))),
        ("no audience", key.sign(&without("aud"))),
        ("wrong issuer", key.sign(&with("iss", json!("https://evil.test")))),
        ("no site", key.sign(&without("site"))),
        ("many sites", key.sign(&with("site", json!([SHOP, HELP])))),
        ("all sites", key.sign(&with("site", json!("*")))),
        ("a site that the issuer may not speak for", key.sign(&with("site", json!(OTHER)))),
        ("alg none", forged(&json!({"alg": "none", "typ": "JWT"}), &good, b"")),
        ("alg None", forged(&json!({"alg": "None"}), &good, b"")),
        ("no alg", forged(&json!({"typ": "JWT"}), &good, b"")),
        ("HS256 with the public key", hs256(rsa.public_pem.as_bytes(), "RS256")),
        ("HS256 with the public key of the curve", hs256(key.public_pem.as_bytes(), "ES256")),
        ("HS256 with nothing", hs256(b"", "RS256")),
        ("another's key of the same name", stranger.sign(&good)),
        ("a key in the token itself", embedded),
        ("another algorithm's key", signed(Algorithm::RS256, "ES256", &good, rsa.key.clone())),
        ("RS384", signed(Algorithm::RS384, "RS256", &good, rsa.key.clone())),
        ("a changed signature", format!("{head}.{}", tail.chars().rev().collect::<String>())),
        ("no signature", format!("{head}.")),
        (
            "a path for a key",
            forged(&json!({"alg": "ES256", "kid": "../../dev/null"}), &good, b"x"),
        ),
        ("rubbish", "rubbish".into()),
        ("a very long token", "a".repeat(9_000)),
    ]
}

#[test]
fn no_endpoint_answers_to_a_wrong_proof() {
    let world = World::new();
    let service = world.serve();
    let session = world.session(SHOP);
    let good = world.issuer.claims(SHOP, &ALL);
    let tokens = wrong_tokens(&world);
    let mut proofs: Vec<(&str, Client)> = vec![("nothing", service.client())];
    for (what, token) in &tokens {
        proofs.push((what, service.client().with("authorization", &format!("Bearer {token}"))));
    }
    proofs.push(("basic", service.client().with("authorization", "Basic YWRtaW46YWRtaW4=")));
    proofs.push(("no cookie", service.client().with("cookie", "__Host-reelvault=AAAA")));
    let mut expected = None;
    let everywhere = endpoints(SHOP, &session).into_iter().map(|e| (e.0, e.1));
    let general = [("GET", "/v1/me".into()), ("GET", "/v1/sites".into()), ("GET", "/v1/x".into())];
    for (method, path) in everywhere.chain(general) {
        for (what, client) in &proofs {
            let reply = send(client, method, &path);
            assert_eq!(reply.status, 401, "{what}: {method} {path}: {reply:?}");
            if method == "HEAD" {
                continue;
            }
            // Every refusal is the same, whatever was wrong and whatever was asked for.
            let told = reply.anonymous();
            assert_eq!(*expected.get_or_insert_with(|| told.clone()), told, "{what} {path}");
        }
    }
    // The tokens are wrong, and not the test: each algorithm works.
    for key in &world.issuer.keys {
        let client = service.client().with("authorization", &format!("Bearer {}", key.sign(&good)));
        assert_eq!(client.get("/v1/me").status, 200, "{}", key.id);
    }
}

#[test]
fn what_is_anothers_and_what_is_not_there_are_the_same() {
    let world = World::new();
    let service = world.serve();
    let mine = world.session(SHOP);
    for role in ALL {
        let caller = service.with_token(SHOP, &[role]);
        for at in 0..endpoints("x", "y").len() {
            let ask = |site: &str, session: &str| {
                let (method, path, _) = endpoints(site, session).swap_remove(at);
                send(&caller, method, &path)
            };
            let theirs = world.session(OTHER);
            let absent = ask("no-such-site", "no-such-session");
            assert_eq!(absent.status, 404);
            for other in [
                ask(OTHER, &theirs),
                ask(OTHER, "no-such-session"),
                // A site for which the issuer may speak, but this token does not.
                ask(HELP, &world.session(HELP)),
                ask(OTHER, &mine),
                ask("SHOP.EXAMPLE", &mine),
                ask("shop.example%20", &mine),
                ask("shop.example%00", &mine),
                ask("..%2fshop.example", &mine),
                ask("*", &mine),
            ] {
                assert_eq!(other.anonymous(), absent.anonymous());
            }
        }
    }
}

#[test]
fn at_its_own_site_a_caller_has_its_roles_and_no_other() {
    let world = World::new();
    let service = world.serve();
    let mine = world.session(SHOP);
    for role in ALL {
        let caller = service.with_token(SHOP, &[role]);
        for (method, path, needed) in endpoints(SHOP, &mine) {
            // These change something; they are tried where nothing is, by whoever may.
            let path = match needed {
                "admin" => path.replace(&mine, "nobody"),
                _ => path,
            };
            let reply = send(&caller, method, &path);
            let transcript = path.ends_with("/transcript");
            let expected = match (needed == role, transcript || role == "admin") {
                (true, false) => 200,
                (true, true) => 404,
                (false, _) => 403,
            };
            assert_eq!(reply.status, expected, "{role}: {method} {path}: {reply:?}");
        }
        // Another site's session is not found at one's own site, and neither is one that nobody has.
        let (theirs, none) = (world.session(OTHER), "no-such-session");
        for (method, path, needed) in endpoints(SHOP, "SESSION") {
            if needed == role && path.contains("SESSION") {
                let ask = |id: &str| send(&caller, method, &path.replace("SESSION", id));
                assert_eq!(ask(&theirs).anonymous(), ask(none).anonymous());
                assert_eq!(ask(none).status, 404);
            }
        }
    }
    let nothing = service.with_token(SHOP, &[]);
    assert_eq!(nothing.get(&format!("/v1/sites/{SHOP}/sessions")).status, 404);
    assert_eq!(nothing.get("/v1/sites").json()["sites"], json!([]));
}

#[test]
fn cursors_and_tags_of_one_site_are_worth_nothing_at_another() {
    let world = World::new();
    let service = world.serve();
    let (shop, help) = (service.with_token(SHOP, &ALL), service.with_token(HELP, &ALL));
    let page = shop.get(&format!("/v1/sites/{SHOP}/sessions?limit=1")).json();
    let cursor = page["next"].as_str().unwrap();
    let list = |client: &Client, site: &str, cursor: &str| {
        client.get(&format!("/v1/sites/{site}/sessions?limit=1&cursor={cursor}")).status
    };
    assert_eq!(list(&shop, SHOP, cursor), 200);
    assert_eq!(list(&help, HELP, cursor), 400);
    let mut spoiled = cursor.to_owned();
    spoiled.replace_range(10..11, if &cursor[10..11] == "0" { "1" } else { "0" });
    for bad in [&spoiled, "", "00", "%00", &"f".repeat(66), &"f".repeat(3_000)] {
        assert_eq!(list(&shop, SHOP, bad), 400, "{bad}");
    }
    let oldest = format!("/v1/sites/{SHOP}/sessions?limit=1&order=oldest&cursor={cursor}");
    assert_eq!(shop.get(&oldest).status, 400, "another order");
    let events = |site: &str| format!("/v1/sites/{site}/sessions/{}/events", world.session(site));
    let tag = shop.get(&events(SHOP)).header("etag").unwrap().to_owned();
    assert_eq!(shop.with("if-none-match", &tag).get(&events(SHOP)).status, 304);
    assert_eq!(help.with("if-none-match", &tag).get(&events(HELP)).status, 200);
    // Knowing a tag lets nobody find out that it is right.
    for known in [tag.as_str(), "*", "\"0\""] {
        assert_eq!(help.with("if-none-match", known).get(&events(SHOP)).status, 404);
    }
}

#[test]
fn an_issuer_changes_its_keys_and_strangers_do_not() {
    let mut world = World::new();
    let old = world.issuer.token(SHOP, &ALL);
    std::fs::write(world.path().join("jwks.json"), "{\"keys\": []}").unwrap();
    let service = world.serve();
    let status = |token: &str| {
        service.client().with("authorization", &format!("Bearer {token}")).get("/v1/me").status
    };
    assert_eq!(status(&old), 401, "no keys, nobody");
    drop(service);
    let fresh = Issuer::new("https://issuer.test");
    std::fs::write(world.path().join("jwks.json"), fresh.jwks()).unwrap();
    let new = fresh.token(SHOP, &ALL);
    world.issuer = fresh;
    let service = world.serve();
    let status = |token: &str| {
        service.client().with("authorization", &format!("Bearer {token}")).get("/v1/me").status
    };
    assert_eq!((status(&old), status(&new)), (401, 200));
}
