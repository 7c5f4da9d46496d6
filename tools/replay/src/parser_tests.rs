//! Random texts for the parsers of what clients and issuers send that are our own: each is refused, or means what it says.

use axum::http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;
use reelvault::env::Env;
use serde_json::{Value, json};

use crate::auth::{bearer, cookie, jwks, link};
use crate::{host, text};

/// A text of pieces that these parsers know, and of others.
fn text_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![3 => prop::sample::select(pieces), 1 => Just("\u{e9}"), 1 => Just("x")];
    prop::collection::vec(piece, 0..24).prop_map(|all| all.concat())
}

fn headers(name: header::HeaderName, all: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in all {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(&name, value);
        }
    }
    headers
}

const HOSTS: &[&str] = &["a", "B", ".", ":", "[", "]", "::1", "443", "65536", "/", "@", " ", "%"];
const COOKIES: &[&str] = &["__Host-reelvault", "=", ";", " ", "abc", "\"", "-oidc", ","];
const ADDRESSES: &[&str] = &["10.0.0.1", "1.2.3.4", "::ffff:10.0.0.1", ",", " ", "[::1]", ":80"];
const TOKENS: &[&str] =
    &["eyJhbGciOiJFUzI1NiJ9", ".", "eyJpc3MiOiJhIn0", "e30", "bnVsbA", "=", "-_"];
const KEYS: &[&str] = &["AQAB", "A", "", "AAAA", "_-8", "=", "/+"];

proptest! {
    #[test]
    fn a_host_is_a_part_of_what_was_sent(sent in text_of(HOSTS), any: String) {
        for sent in [sent, any] {
            if let Some(name) = host::name_of(&sent) {
                prop_assert!(sent.starts_with(name) && !name.is_empty() && name.len() <= 253);
                prop_assert!(!name.contains(['/', '@', ' ', '%']) && name.is_ascii());
                prop_assert!(name.starts_with('[') || !name.contains(':'));
            }
        }
    }

    #[test]
    fn a_proxys_word_names_an_address_or_nobody(all in prop::collection::vec(text_of(ADDRESSES), 0..4)) {
        let headers = headers(header::HeaderName::from_static("x-forwarded-for"), &all);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = "9.9.9.9".parse().unwrap();
        prop_assert_eq!(host::client(peer, &headers, &trusted).ip, peer, "it is no proxy of ours");
        let _ = host::client("10.0.0.1".parse().unwrap(), &headers, &trusted);
    }

    #[test]
    fn what_is_escaped_is_unescaped_and_anything_else_is_read_or_refused(any: String, sent in text_of(&["%", "+", "4", "zz", "C3", "%A9", "a"])) {
        prop_assert_eq!(text::unescape(&text::escape(&any)), Some(any));
        if let Some(read) = text::unescape(&sent) {
            prop_assert_eq!(text::unescape(&text::escape(&read)), Some(read));
        }
    }

    #[test]
    fn a_cookie_is_found_if_there_is_one_of_its_name(all in prop::collection::vec(text_of(COOKIES), 0..3)) {
        let headers = headers(header::COOKIE, &all);
        if let Some(value) = cookie::find(&headers, cookie::NAME) {
            let named = format!("{}={value}", cookie::NAME);
            prop_assert!(all.iter().any(|sent| sent.contains(&named)));
            prop_assert!(!value.contains(';'));
        }
    }

    #[test]
    fn a_token_of_no_issuer_is_not_believed(sent in text_of(TOKENS), any: String) {
        prop_assert!(bearer::check(&[], &sent).is_err() && bearer::check(&[], &any).is_err());
    }

    #[test]
    fn a_key_that_is_none_is_passed_over(
        kty in prop::sample::select(&["RSA", "EC", "OKP", "oct", ""][..]),
        crv in prop::sample::select(&["P-256", "Ed25519", "P-384", ""][..]),
        parts in prop::collection::vec(text_of(KEYS), 4),
        without in 0usize..8,
    ) {
        let mut key = json!({ "kty": kty, "crv": crv, "n": parts[0], "e": parts[1], "x": parts[2], "y": parts[3], "use": "sig" });
        let names = ["kty", "crv", "n", "e", "x", "y", "use"];
        if let (Some(name), Value::Object(fields)) = (names.get(without), &mut key) {
            fields.remove(*name);
        }
        let known = jwks::known(&key).is_some();
        prop_assert!(!known || matches!(kty, "RSA" | "EC" | "OKP"));
    }

    #[test]
    fn a_link_that_was_not_made_signs_nobody_in(token: String) {
        let state = std::env::temp_dir();
        prop_assert_eq!(link::take(&Env::real(), &state, &token), None);
    }
}
