//! `serve` and `audit`, as their users meet them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{self, Place, SECRET, chunks, finish, hour_ago};

/// A store with a session, and a configuration that listens anywhere.
fn place() -> Place {
    let place = Place::with_site();
    let file = place.file("one.chunks.ndjson", chunks(&format!("s-{SECRET}"), hour_ago(), 3));
    place.ok(&["import", "--site", "shop", &file]);
    place
}

fn config(place: &Place) -> String {
    common::text(&place.path("serve/serve.toml"))
}

struct Serving(Child, Value);

impl Serving {
    fn start(place: &Place) -> Self {
        let config = config(place);
        let mut command = place.command(&["serve", "--config", &config, "--json"]);
        command.env("REELVAULT_SERVE_LISTEN_HTTPS", "['127.0.0.1:0']");
        command.env("REELVAULT_SERVE_LISTEN_METRICS", "127.0.0.1:0");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")))
    }

    /// Asks it to stop; returns its exit code and what it said.
    fn stop(mut self) -> (i32, String) {
        let pid = self.0.id().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        let begun = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not stop");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code().unwrap(), said)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_is_made_started_and_stopped() {
    let place = place();
    let (code, made) = place.json(&["serve", "init", "--config", &config(&place)]);
    assert_eq!(code, 0);
    let link = made["link"].as_str().unwrap();
    assert!(link.starts_with("https://localhost:8443/#link="), "{link}");
    let again = place.run(&["serve", "init", "--config", &config(&place)]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("exists already"), "{}", again.err);
    assert!(place.ok(&["serve", "link", "admin", "--config", &config(&place)]).contains("#link="));
    let unknown = place.run(&["serve", "link", "nobody", "--config", &config(&place)]);
    assert_eq!(unknown.code, 1);

    let serving = Serving::start(&place);
    assert_eq!(serving.1["command"], "serve");
    let mut plain = TcpStream::connect(serving.1["metrics"].as_str().unwrap()).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut figures = String::new();
    plain.read_to_string(&mut figures).unwrap();
    assert!(figures.contains("reelvault_segments 1\n"), "{figures}");
    // Others read and write meanwhile.
    place.ok(&["sessions", "shop", "--all"]);
    place.ok(&["archive"]);
    let (code, said) = serving.stop();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(SECRET));
}

#[test]
fn a_configuration_that_is_wrong_is_told_by_its_line() {
    let place = place();
    place.ok(&["serve", "init", "--config", &config(&place)]);
    let mut text = std::fs::read_to_string(place.path("serve/serve.toml")).unwrap();
    let line = text.lines().count() + 2;
    text += "\n[limits]\nconnections = \"many\"\n";
    std::fs::write(place.path("serve/serve.toml"), text).unwrap();
    let ran = place.run(&["serve", "--config", &config(&place)]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains(&format!("line {}", line + 1)), "{}", ran.err);
    let ran = place.run(&["serve"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("which configuration?"), "{}", ran.err);
    let missing = place.run(&["serve", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, 2, "{missing:?}");
}

#[test]
fn without_a_store_there_is_nothing_to_serve() {
    let place = Place::empty();
    place.ok(&["serve", "init", "--config", &config(&place)]);
    let ran = place.run(&["serve", "--config", &config(&place)]);
    assert_eq!(ran.code, 10, "{ran:?}");
}

#[test]
fn a_password_becomes_a_hash_and_never_an_argument() {
    let place = Place::empty();
    let file = place.file("password", "correct horse\n");
    let mut command = place.command(&["serve", "password"]);
    command.stdin(std::fs::File::open(file).unwrap());
    let ran = finish(command);
    assert!(ran.out.starts_with("$argon2id$v=19$"), "{ran:?}");
    assert!(reelvault_replay::auth::local::is_hash(ran.out.trim()));
    assert_eq!(place.run(&["serve", "password"]).code, 2, "an empty one");
}

#[test]
fn an_audit_log_without_records_is_whole_and_a_damaged_one_is_not() {
    let place = place();
    place.ok(&["serve", "init", "--config", &config(&place)]);
    let (code, body) = place.json(&["audit", "shop", "--config", &config(&place)]);
    assert_eq!((code, &body["records"]), (0, &serde_json::json!([])));
    let state = common::text(&place.path("serve/state"));
    let (code, shown) = place.json(&["site", "list"]);
    assert_eq!(code, 0, "{shown}");
    let key = KeyFileOf(&place).open();
    let handle = key.site(&reelvault::SiteId::new("shop").unwrap()).unwrap().handle();
    place.file(&format!("serve/state/audit/{handle}/0000000000000001.rvl"), [7; 200]);
    let ran = place.run(&["audit", "shop", "--state", &state]);
    assert_eq!(ran.code, 0, "what a crash tore is no record: {ran:?}");
    place.file(&format!("serve/state/audit/{handle}/0000000000000002.rvl"), [7; 200]);
    let ran = place.run(&["audit", "shop", "--state", &state]);
    assert_eq!(ran.code, 13, "{ran:?}");
    assert_eq!(place.run(&["audit", "shop"]).code, 2);
}

#[test]
fn the_state_of_the_command_line_stands_above_an_exported_configuration() {
    let place = place();
    place.ok(&["serve", "init", "--config", &config(&place)]);
    let state = common::text(&place.path("serve/state"));
    let mut command = place.command(&["audit", "shop", "--state", &state]);
    command.env("REELVAULT_SERVE_CONFIG", place.path("nowhere.toml"));
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn what_is_exported_for_the_service_is_in_the_way_of_no_other_command() {
    let place = Place::empty();
    for args in [&["serve", "init"][..], &["serve", "link", "admin"]] {
        let mut command = place.command(args);
        command.env("REELVAULT_SERVE_CONFIG", place.path("serve/serve.toml"));
        command.env("REELVAULT_SERVE_REPO", place.path("backups"));
        let ran = finish(command);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    }
}

/// The store, opened beside the command.
struct KeyFileOf<'a>(&'a Place);

impl KeyFileOf<'_> {
    fn open(&self) -> reelvault::Store {
        let env = reelvault::env::Env::real();
        let key = reelvault::KeyFile::open(&env, self.0.path("store.keys/key")).unwrap();
        let mirror = self.0.path("store.keys/mirror-1/keyring");
        let options =
            reelvault::Options::new(self.0.path("store"), [mirror], std::sync::Arc::new(key));
        reelvault::Store::open_read_only(options).unwrap()
    }
}
