//! Passwords, links, cookies.

use reelvault::env::Env;
use reelvault_replay::config::Config;
use serde_json::json;

use crate::common::{self, PASSWORD, SHOP, World};

fn login(user: &str, password: &str) -> String {
    json!({"user": user, "password": password}).to_string()
}

#[test]
fn a_password_gives_a_cookie_that_signing_out_takes_back() {
    let world = World::new();
    let service = world.serve();
    let methods = service.client().get("/auth/methods").json();
    assert_eq!(methods, json!({"local": true, "oidc": []}));
    let reply = service.client().post("/auth/login", &login("anna", PASSWORD));
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    for part in ["__Host-reelvault=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let anna = service.browser(&reply);
    let me = anna.get("/v1/me").json();
    assert_eq!(
        (me["name"].as_str(), &me["sites"]),
        (Some("anna"), &json!([{"id": SHOP, "roles": ["viewer"]}]))
    );
    assert_eq!(anna.get(&format!("/v1/sites/{SHOP}/audit")).status, 403);
    let out = anna.post("/auth/logout", "");
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(anna.get("/v1/me").status, 401, "the cookie that was kept is worth nothing");
    // A cookie that was changed in any place is none.
    let again = service.browser(&service.client().post("/auth/login", &login("anna", PASSWORD)));
    let cookie = again.headers.iter().find(|(n, _)| n == "cookie").unwrap().1.clone();
    let value = cookie.split_once('=').unwrap().1;
    for at in [0, 5, value.len() / 2, value.len() - 2] {
        let mut spoiled = value.as_bytes().to_vec();
        spoiled[at] = if spoiled[at] == b'A' { b'B' } else { b'A' };
        let spoiled = format!("__Host-reelvault={}", String::from_utf8(spoiled).unwrap());
        assert_eq!(again.with("cookie", &spoiled).get("/v1/me").status, 401);
    }
    // The cookie of a sign-in under way is sealed for that alone.
    let other = format!("__Host-reelvault-oidc={value}");
    assert_eq!(again.with("cookie", &other).get("/v1/me").status, 401);
}

#[test]
fn guessing_is_slow_and_tells_nothing() {
    let world = World::new();
    let service = world.serve();
    let client = service.client();
    let wrong = client.post("/auth/login", &login("anna", "wrong"));
    let unknown = client.post("/auth/login", &login("nobody", PASSWORD));
    let without = client.post("/auth/login", &login("admin", ""));
    assert_eq!(wrong.status, 401);
    assert_eq!(wrong.anonymous(), unknown.anonymous());
    assert_eq!(wrong.anonymous(), without.anonymous());
    let statuses: Vec<u16> =
        (0..12).map(|_| client.post("/auth/login", &login("anna", "wrong")).status).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    let right = client.post("/auth/login", &login("anna", PASSWORD));
    assert_eq!(right.status, 429, "the right one waits too");
    assert!(right.header("retry-after").is_some());
}

#[test]
fn a_link_works_once_and_for_a_day() {
    let world = World::new();
    let service = world.serve();
    let config = Config::load(&world.path().join("serve.toml")).unwrap();
    let make = |env: &Env| {
        let link = reelvault_replay::make_link(env, &config, "admin").unwrap();
        json!({"token": link.split_once("#link=").unwrap().1}).to_string()
    };
    let link = make(&Env::real());
    let client = service.client();
    let admin = service.browser(&client.post("/auth/link", &link));
    assert_eq!(admin.get("/v1/me").json()["sites"].as_array().unwrap().len(), 3);
    assert_eq!(client.post("/auth/link", &link).status, 401, "once");
    let old = make(&common::env_at(Env::real().clock.now_ms() - 25 * 3_600_000));
    assert_eq!(client.post("/auth/link", &old).status, 401, "too old");
    for token in ["", "x", "../serve.toml", "%2e%2e", &"a".repeat(43)] {
        let body = json!({"token": token}).to_string();
        assert_eq!(client.post("/auth/link", &body).status, 401, "{token}");
    }
    assert!(reelvault_replay::make_link(&Env::real(), &config, "nobody").is_err());
    // Of a token only its hash is on the disk.
    let link = make(&Env::real());
    let token = link.split('"').nth(3).unwrap();
    for entry in std::fs::read_dir(config.state.join("links")).unwrap() {
        let entry = entry.unwrap();
        assert!(!entry.file_name().to_string_lossy().contains(token));
        assert!(!std::fs::read_to_string(entry.path()).unwrap().contains(token));
    }
}

#[test]
fn many_race_for_a_link_and_one_gets_in() {
    let world = World::new();
    let service = world.serve();
    let config = Config::load(&world.path().join("serve.toml")).unwrap();
    let link = reelvault_replay::make_link(&Env::real(), &config, "admin").unwrap();
    let body = json!({"token": link.split_once("#link=").unwrap().1}).to_string();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || scope.spawn(|| service.client().post("/auth/link", &body).status);
        let all: Vec<_> = (0..8).map(|_| one()).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|s| **s == 204).count(), 1, "{statuses:?}");
}
