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
            "/.well-known/openid-configuration" => Some(
                json!({
                    "issuer": at, "authorization_endpoint": format!("{at}/authorize"),
                    "token_endpoint": format!("{at}/token"), "jwks_uri": format!("{at}/jwks"),
                })
                .to_string(),
            ),
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
