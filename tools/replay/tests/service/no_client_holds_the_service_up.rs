//! Clients over HTTP/2 that ask for much and take nothing, and others that want to be served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use crate::common::World;
use crate::common::client::{Client, Tls};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Streams that the service lets one connection have.
const STREAMS: u32 = 64;

/// A client that speaks HTTP/2 and gives the service no window for any answer.
struct Closed {
    tls: Tls,
    host: String,
    next: u32,
}

impl Closed {
    fn connect(client: &Client) -> Self {
        let mut closed =
            Self { tls: client.connect().unwrap(), host: client.host.clone(), next: 1 };
        closed.tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        closed.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
        closed
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, body: &[u8]) -> std::io::Result<()> {
        let mut frame = (body.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(body);
        self.tls.write_all(&frame)
    }

    /// Asks for something often, and waits until each answer has begun.
    fn ask(&mut self, path: &str, times: u32) {
        let head = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", self.host.as_str()),
            (":path", path),
        ];
        // Fields as they are: neither indexed nor coded.
        let mut block = Vec::new();
        for text in head.into_iter().flat_map(|(name, value)| [name, value]) {
            if text.starts_with(':') {
                block.push(0);
            }
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
        for _ in 0..times {
            let stream = self.next;
            self.next += 2;
            // END_STREAM and END_HEADERS.
            self.send(HEADERS, 5, stream, &block).unwrap();
        }
        let mut begun = 0;
        while begun < times {
            begun += u32::from(self.read().unwrap() == HEADERS);
        }
    }

    /// The kind of the next frame; `None` once the service has ended the connection.
    fn read(&mut self) -> Option<u8> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.fill(&mut body)?;
        Some(head[3])
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.tls.read_exact(bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection is kept for ever")
            }
            read => read.ok(),
        }
    }
}

/// Waits for a status: what a connection held is given back a moment after it ended.
fn becomes(client: &Client, path: &str, status: u16) {
    let mut is = 0;
    for _ in 0..200 {
        is = client.get(path).status;
        if is == status {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(is, status, "{path}");
}

#[test]
fn answers_that_nobody_takes_end_their_connection() {
    let world = World::new();
    let service = world.serve_with("[limits]\nrequests = 4\nstall_seconds = 1\n");
    let mut closed = Closed::connect(&service.client());
    closed.ask("/openapi.json", 4);
    while closed.read().is_some() {}
    becomes(&service.client(), "/auth/methods", 200);
}

#[test]
fn who_watches_over_the_service_is_answered_when_no_place_is_free() {
    let world = World::new();
    let service = world.serve_with("[limits]\nrequests = 4\n");
    let client = service.client();
    let mut closed = Closed::connect(&client);
    closed.ask("/openapi.json", 4);
    assert_eq!(client.get("/auth/methods").status, 503);
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/readyz").status, 200);
    drop(closed);
    becomes(&client, "/auth/methods", 200);
}

#[test]
fn one_address_leaves_places_for_others() {
    let world = World::new();
    let service =
        world.serve_with("[limits]\nrequests = 80\n[proxy]\ntrusted = [\"127.0.0.1/32\"]\n");
    let client = service.client();
    let mut closed = Closed::connect(&client);
    closed.ask("/openapi.json", STREAMS);
    assert_eq!(client.get("/auth/methods").status, 503);
    assert_eq!(client.with("x-forwarded-for", "6.6.6.6").get("/auth/methods").status, 200);
}

#[test]
fn who_only_sends_pings_is_told_and_then_cut_off() {
    let world = World::new();
    let service = world.serve_with("[limits]\nidle_seconds = 1\n");
    let mut closed = Closed::connect(&service.client());
    let mut told = false;
    for _ in 0..400 {
        if closed.send(PING, 0, 0, &[7; 8]).is_err() {
            break;
        }
        // The answer to the ping, or the end.
        let Some(kind) = closed.read() else {
            assert!(told);
            return;
        };
        told |= kind == GOAWAY;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(told, "nobody ends a connection that is used for nothing");
}
