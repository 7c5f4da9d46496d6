//! OpenID Connect against an issuer on this machine, and key sets from an address that change.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::client::{Client, Reply};
use crate::common::tokens::{Issuer, now};
use crate::common::{self, HELP, SHOP, Service, World};

/// An issuer as Google's is one, as far as the service can see.
struct Google {
    at: String,
    state: Arc<Mutex<State>>,
}

struct State {
    issuer: Issuer,
    /// What is changed in the next token.
    change: Value,
    /// By code: the challenge, the nonce and the redirect address that it was given for.
    codes: HashMap<String, (String, String, String)>,
    key_sets_served: u32,
    /// How often it was asked where to sign in, and whether it says so.
    asked_where: u32,
    is_down: bool,
}

impl Google {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let state = State {
            issuer: Issuer::new(&at),
            change: json!({}),
            codes: HashMap::new(),
            key_sets_served: 0,
            asked_where: 0,
            is_down: false,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut some = [0; 4096];
                let (head, mut body) = loop {
                    let n = stream.read(&mut some).unwrap();
                    request.extend_from_slice(&some[..n]);
                    if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                        let head = String::from_utf8(request[..end].to_vec()).unwrap();
                        break (head, request[end + 4..].to_vec());
                    }
                };
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1);
                let length = length.map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
                while body.len() < length {
                    let n = stream.read(&mut some).unwrap();
                    body.extend_from_slice(&some[..n]);
                }
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answer =
                    shared.lock().unwrap().answer(&path, &String::from_utf8(body).unwrap());
                let (status, answer) = answer.map_or(("400 Bad", "{}".into()), |a| ("200 OK", a));
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                let _ = stream.write_all((head + &answer).as_bytes());
            }
        });
        Self { at, state }
    }

    /// Does what a person does there: agrees. Returns the code.
    fn agree(&self, place: &str) -> (String, String) {
        let query = place.split_once('?').unwrap().1;
        let field = |name: &str| {
            let mut pairs = query.split('&').filter_map(|p| p.split_once('='));
            pairs.find(|(n, _)| *n == name).unwrap().1.replace("%3A", ":").replace("%2F", "/")
        };
        assert_eq!(field("code_challenge_method"), "S256");
        assert_eq!(field("response_type"), "code");
        let mut state = self.state.lock().unwrap();
        let code = format!("code-{}", state.codes.len());
        state
            .codes
            .insert(code.clone(), (field("code_challenge"), field("nonce"), field("redirect_uri")));
        (code, field("state"))
    }
}

impl State {
    fn answer(&mut self, path: &str, body: &str) -> Option<String> {
        let at = self.issuer.name.clone();
        match path {
            "/.well-known/openid-configuration" => {
                self.asked_where += 1;
                (!self.is_down).then(|| {
                    json!({
                        "issuer": at, "authorization_endpoint": format!("{at}/authorize"),
                        "token_endpoint": format!("{at}/token"), "jwks_uri": format!("{at}/jwks"),
                    })
                    .to_string()
                })
            }
            "/jwks" => {
                self.key_sets_served += 1;
                Some(self.issuer.jwks())
            }
            "/token" => {
                let form: HashMap<&str, &str> =
                    body.split('&').filter_map(|p| p.split_once('=')).collect();
                let (challenge, nonce, redirect) = self.codes.remove(form["code"])?;
                let verifier = URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"]));
                let back = form["redirect_uri"].replace("%3A", ":").replace("%2F", "/");
                if verifier != challenge || back != redirect || form["client_secret"] != "s3cret" {
                    return None;
                }
                let mut claims = json!({
                    "iss": at, "aud": "our-client", "sub": "1234", "exp": now() + 60, "nonce": nonce,
                    "email": "berta@shop.example", "email_verified": true, "name": "Berta", "hd": "shop.example",
                });
                for (name, value) in self.change.as_object().unwrap() {
                    claims[name] = value.clone();
                }
                Some(
                    json!({"id_token": self.issuer.keys[2].sign(&claims), "token_type": "Bearer"})
                        .to_string(),
                )
            }
            _ => None,
        }
    }
}

fn configuration(world: &World, google: &Google) -> String {
    std::fs::write(world.path().join("google.secret"), "s3cret\n").unwrap();
    format!(
        r#"
[[oidc]]
id = "google"
name = "Google"
issuer = "{}"
client_id = "our-client"
client_secret_file = "google.secret"
grants = [
  {{ claim = "email", value = "berta@shop.example", site = "shop.example", roles = ["viewer"] }},
  {{ claim = "groups", value = "support", site = "help.example", roles = ["viewer", "auditor"] }},
]
[[jwt]]
issuer = "{}"
audience = "reelvault"
jwks_url = "{}/jwks"
sites = ["shop.example"]
"#,
        google.at, google.at, google.at
    )
}

/// Begins a sign-in: the issuer's address and a client with the flow's cookie.
fn begin(service: &Service<'_>) -> (String, Client) {
    let start = service.client().get("/auth/oidc/google/start");
    assert_eq!(start.status, 302, "{start:?}");
    let cookie = start.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-reelvault-oidc=") && cookie.contains("SameSite=Lax; "),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    (start.header("location").unwrap().to_owned(), service.client().with("cookie", cookie))
}

fn back(client: &Client, code: &str, state: &str) -> Reply {
    client.get(&format!("/auth/oidc/google/callback?code={code}&state={state}&scope=openid"))
}

#[test]
fn who_the_issuer_confirms_is_signed_in_with_what_the_configuration_grants() {
    let world = World::new();
    let google = Google::start();
    let service = world.serve_with(&configuration(&world, &google));
    let methods = service.client().get("/auth/methods").json();
    assert_eq!(methods["oidc"], json!([{"id": "google", "name": "Google"}]));
    let sign_in = |change: Value| {
        google.state.lock().unwrap().change = change;
        let (place, client) = begin(&service);
        assert!(place.starts_with(&format!("{}/authorize?", google.at)));
        let (code, state) = google.agree(&place);
        back(&client, &code, &state)
    };
    let reply = sign_in(json!({}));
    assert_eq!((reply.status, reply.header("location")), (302, Some("/")), "{reply:?}");
    let cookies: Vec<&str> =
        reply.headers.iter().filter(|(n, _)| n == "set-cookie").map(|(_, v)| v.as_str()).collect();
    assert!(
        cookies.iter().any(|c| c.starts_with("__Host-reelvault=") && c.contains("SameSite=Strict"))
    );
    assert!(cookies.iter().any(|c| c.starts_with("__Host-reelvault-oidc=;")));
    let signed_in = |reply: &Reply| {
        let cookie =
            reply.headers.iter().find(|(_, v)| v.starts_with("__Host-reelvault=")).unwrap();
        service.client().with("cookie", cookie.1.split(';').next().unwrap())
    };
    let me = signed_in(&reply).get("/v1/me").json();
    assert_eq!(
        (me["name"].as_str(), &me["sites"]),
        (Some("Berta"), &json!([{"id": SHOP, "roles": ["viewer"]}]))
    );
    let grouped = sign_in(json!({"groups": ["x", "support"], "email_verified": false}));
    let me = signed_in(&grouped).get("/v1/me").json();
    assert_eq!(
        me["sites"],
        json!([{"id": HELP, "roles": ["viewer", "auditor"]}]),
        "nobody verified the address"
    );
    for change in [
        json!({"nonce": "another"}),
        json!({"aud": "another-client"}),
        json!({"aud": ["our-client", "another"]}),
        json!({"iss": "https://accounts.google.com"}),
        json!({"exp": now() - 100}),
        json!({"sub": null}),
    ] {
        let reply = sign_in(change.clone());
        assert_eq!(reply.status, 401, "{change}: {reply:?}");
        assert!(reply.header("set-cookie").is_none());
    }
}

#[test]
fn an_answer_that_was_not_asked_for_signs_nobody_in() {
    let world = World::new();
    let google = Google::start();
    let service = world.serve_with(&configuration(&world, &google));
    let (place, client) = begin(&service);
    let (code, state) = google.agree(&place);
    assert_eq!(back(&service.client(), &code, &state).status, 401, "another browser");
    assert_eq!(back(&client, &code, "another-state").status, 401);
    assert_eq!(client.get("/auth/oidc/google/callback?error=access_denied").status, 401);
    assert_eq!(client.get("/auth/oidc/other/callback?code=x&state=y").status, 404);
    assert_eq!(service.client().get("/auth/oidc/..%2f/start").status, 404);
    assert_eq!(back(&client, &code, &state).status, 302);
    assert_eq!(back(&client, &code, &state).status, 401, "a code works once");
    let (_, second) = begin(&service);
    assert_eq!(back(&second, "code-7", &state).status, 401, "another flow's state");
}

/// One cookie of a sign-in that was begun held all places of its issuer, for as long as it was good.
#[test]
fn ways_back_from_an_issuer_are_counted_by_themselves() {
    let world = World::new();
    let google = Google::start();
    let service = world.serve_with(&configuration(&world, &google));
    let (place, client) = begin(&service);
    let (code, state) = google.agree(&place);
    let start = || service.client().get("/auth/oidc/google/start").status;
    assert!((0..30).any(|_| start() == 429));
    assert_eq!(back(&client, &code, &state).status, 302, "what was begun may be ended");
    let mut replies = (0..30).map(|_| back(&client, &code, &state));
    let limited = replies.find(|reply| reply.status != 401).unwrap();
    assert_eq!(limited.status, 429, "{limited:?}");
    assert!(limited.header("retry-after").is_some());
}

#[test]
fn keys_that_the_issuer_adds_are_found_and_forgers_are_no_load() {
    let world = World::new();
    let google = Google::start();
    let service = world.serve_with(&configuration(&world, &google));
    let status = |token: &str| {
        service.client().with("authorization", &format!("Bearer {token}")).get("/v1/me").status
    };
    let token = google.state.lock().unwrap().issuer.token(SHOP, &["viewer"]);
    assert_eq!(status(&token), 200);
    let stranger = Issuer::new(&google.at);
    for n in 0..20 {
        let mut key = common::tokens::Key::new("x", jsonwebtoken::Algorithm::ES256);
        key.id = format!("unknown-{n}");
        assert_eq!(status(&key.sign(&stranger.claims(SHOP, &["viewer"]))), 401);
    }
    assert!(google.state.lock().unwrap().key_sets_served <= 2);
    assert_eq!(status(&token), 200);
}

/// The client with the cookie of whoever was signed in.
fn signed_in(service: &Service<'_>, reply: &Reply) -> Client {
    let cookies = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    let cookie = cookies.map(|(_, v)| v).find(|v| v.starts_with("__Host-reelvault=")).unwrap();
    service.client().with("cookie", cookie.split(';').next().unwrap())
}

fn grant(value: &str, site: &str) -> String {
    format!(
        "{{ claim = \"groups\", value = \"{value}\", site = \"{site}\", roles = [\"viewer\"] }},\n"
    )
}

#[test]
fn a_right_that_is_taken_away_is_gone_for_who_is_signed_in() {
    let world = World::new();
    let google = Google::start();
    let all = configuration(&world, &google);
    let service = world.serve_with(&all);
    let (place, client) = begin(&service);
    let (code, state) = google.agree(&place);
    let berta = signed_in(&service, &back(&client, &code, &state));
    let cookie = berta.headers[0].1.clone();
    let list = format!("/v1/sites/{SHOP}/sessions");
    assert_eq!(berta.get(&list).status, 200);
    drop(service);
    let service = world.serve_with(&all.replace("berta@shop.example", "anna@shop.example"));
    let berta = service.client().with("cookie", &cookie);
    assert_eq!(berta.get(&list).status, 404);
    assert_eq!(berta.get("/v1/me").json()["sites"], json!([]));
    drop(service);
    let service = world.serve_with(&all.replace("[\"viewer\"]", "[\"auditor\"]"));
    let berta = service.client().with("cookie", &cookie);
    assert_eq!(berta.get(&list).status, 403);
    assert_eq!(berta.get(&format!("/v1/sites/{SHOP}/audit")).status, 200);
    drop(service);
    // Another issuer under the same id: what the first one said of her is not what this one says.
    let ours = |at: &str| format!("issuer = \"{at}\"\nclient_id");
    assert!(all.contains(&ours(&google.at)));
    let service = world.serve_with(&all.replace(&ours(&google.at), &ours("http://127.0.0.1:1")));
    assert_eq!(service.client().with("cookie", &cookie).get("/v1/me").status, 401);
}

/// It made the cookie too large, and the refusal told her to ask for fewer groups.
#[test]
fn a_long_name_is_cut() {
    let world = World::new();
    let google = Google::start();
    let service = world.serve_with(&configuration(&world, &google));
    google.state.lock().unwrap().change = json!({"name": format!("B{}", "é".repeat(2_000))});
    let (place, client) = begin(&service);
    let (code, state) = google.agree(&place);
    let reply = back(&client, &code, &state);
    assert_eq!(reply.status, 302, "{reply:?}");
    let me = signed_in(&service, &reply).get("/v1/me").json();
    assert_eq!(me["name"], format!("B{}", "é".repeat(63)));
}

#[test]
fn many_grants_fit_into_a_cookie_or_are_refused_with_a_word() {
    let world = World::new();
    let google = Google::start();
    let group = |n: u32| format!("9c2e4f6a-0000-4000-8000-{n:012}");
    let mut grants = String::new();
    for n in 0..100 {
        grants += &grant("agency", &format!("site-{n}.example"));
        grants += &grant(&group(n), SHOP);
    }
    let all = configuration(&world, &google).replace("grants = [", &format!("grants = [{grants}"));
    let service = world.serve_with(&all);
    let sign_in = |groups: Value| {
        google.state.lock().unwrap().change = json!({"groups": groups});
        let (place, client) = begin(&service);
        let (code, state) = google.agree(&place);
        back(&client, &code, &state)
    };
    let reply = sign_in(json!(["agency", group(0)]));
    assert_eq!(reply.status, 302, "{reply:?}");
    let agency = signed_in(&service, &reply);
    assert!(agency.headers[0].1.len() < 1_000, "one group is one pair, however much it is worth");
    assert_eq!(agency.get(&format!("/v1/sites/{SHOP}/sessions")).status, 200);
    let reply = sign_in((0..100).map(group).collect());
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.header("set-cookie").is_none());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}

#[test]
fn an_issuer_that_hangs_is_nobody_elses_trouble() {
    let world = World::new();
    let google = Google::start();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "[[oidc]]\nid = \"a\"\nname = \"A\"\nissuer = \"http://{}\"\nclient_id = \"c\"\n\
         [proxy]\ntrusted = [\"127.0.0.1/32\"]\n",
        hanging.local_addr().unwrap()
    );
    let service = world.serve_with(&(configuration(&world, &google) + &more));
    let mut starting = Vec::new();
    for n in 0..20 {
        // Each from its own address: one alone may begin ten sign-ins in a minute.
        let client = service.client();
        let mut tls = client.connect().unwrap();
        let head = format!(
            "GET /auth/oidc/a/start HTTP/1.1\r\nhost: {}\r\nx-forwarded-for: 6.6.6.{n}\r\n\r\n",
            client.host
        );
        tls.write_all(head.as_bytes()).unwrap();
        starting.push(tls);
    }
    // It is being asked, and says nothing.
    let (_asked, _) = hanging.accept().unwrap();
    assert_eq!(service.with_token(SHOP, &["viewer"]).get("/v1/me").status, 200);
    begin(&service);
    drop(starting);
}

#[test]
fn an_issuer_that_does_not_answer_is_not_asked_again_at_once() {
    let world = World::new();
    let google = Google::start();
    google.state.lock().unwrap().is_down = true;
    let service = world.serve_with(&configuration(&world, &google));
    for _ in 0..3 {
        assert_eq!(service.client().get("/auth/oidc/google/start").status, 502);
    }
    assert_eq!(google.state.lock().unwrap().asked_where, 1);
}
