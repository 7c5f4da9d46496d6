//! The limits of what the service takes from the network, each with its reason. Those that an operator may want to set
//! otherwise are in [`crate::config::Limits`], and their defaults in `config/settings.rs`.

use std::time::Duration;

/// A TLS handshake that takes longer holds a connection for nothing.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A client that needs longer to send the head of a request is broken, or wants to hold connections.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// The same for the body, which is small.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head: cookies and tokens are below 8 KiB, and paths below 4 KiB.
pub const HEADER_BYTES_MAX: usize = 32 << 10;
/// Headers of a request; a browser sends about 20.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's body: a password, a reason, a token.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// Bytes of a path with its query: a session id has at most 128 bytes, each three characters when escaped.
pub const URI_BYTES_MAX: usize = 4 << 10;
/// Streams that one HTTP/2 connection may have open: what a page needs, and no more.
pub const STREAMS_MAX: u32 = 64;
/// One address holds no more than one in so many of the places for requests, so that it takes a handful of them to keep all others out;
/// but what one connection may ask for at once, it may in any case.
pub const REQUESTS_PART: u32 = 4;
/// Streams reset by the client before they were answered, at which the connection ends (CVE-2023-44487).
pub const RESETS_MAX: usize = 32;
/// Bytes of a body that are handed to the connection at a time, so that a slow client holds little.
pub const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a connection that are encrypted and not yet taken: two TLS records. A client that is slow holds no more.
pub const TLS_BUFFER_BYTES_MAX: usize = 32 << 10;
/// Stored bytes that one step of a replay reads, unless a block has more.
pub const READ_BYTES_MAX: usize = 256 << 10;
/// One in so many of `replay_mib` is left to those who are passed what is stored. Who unpacks it (gzip, plain, an archive) holds memory
/// for as long as a client takes a whole block: a few that are slow must not keep every browser out.
pub const PASSED_ON_PART: u32 = 4;
/// Sessions of a page.
pub const PAGE_MAX: usize = 1_000;
/// Sessions of a page unless asked otherwise.
pub const PAGE_DEFAULT: usize = 100;
/// Sessions that one request looks at, where it filters by what no index knows. The cursor goes on from there.
pub const SCANNED_MAX: usize = 5_000;
/// NDJSON bytes of a chat whose transcript is made: a chat has a few dozen messages of 700 bytes.
pub const TRANSCRIPT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a bearer token: far above what any issuer makes.
pub const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Bytes of what an issuer answers: key sets and discovery documents have a few KiB.
pub const FETCH_BYTES_MAX: u64 = 1 << 20;
/// How long an issuer may take to answer.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Bearer tokens that are checked at a time. Until an issuer has been asked once, all of its tokens wait for it; then only the one that asks again.
pub const TOKEN_CHECKS_MAX: usize = 16;
/// People who are signing in at issuers at a time: those wait for what the issuers answer, and tokens must not wait for them.
pub const SIGN_INS_MAX: usize = 16;
/// The same at one issuer: one that hangs must not take the places of the others.
pub const SIGN_INS_AT_ISSUER_MAX: usize = 4;
/// Keys that are taken out of one key set.
pub const KEYS_MAX: usize = 64;
/// A key set is not fetched again within this time because of a token that names an unknown key: a forger must not
/// make the service a load on its issuer. Nor is what an issuer says of itself, if it could not be had.
pub const REFETCH_TIME_MIN: Duration = Duration::from_secs(30);
/// A key set is fetched again after this time, so that a key that was withdrawn stops working.
pub const REFETCH_TIME_MAX: Duration = Duration::from_secs(600);
/// Clocks of issuers differ by this much.
pub const CLOCK_LEEWAY_SECONDS: u64 = 30;
/// How long a person may take to sign in at an issuer.
pub const OIDC_FLOW_MS_MAX: u64 = 600_000;
/// Bytes of a cookie with its name: browsers drop larger ones without a word, most beyond 4,096 with all that stands around them.
pub const COOKIE_BYTES_MAX: usize = 4_000;
/// How long a sign-in link works.
pub const LINK_MS_MAX: u64 = 24 * 3_600_000;
/// Passwords that are checked at one time: each takes 19 MiB and 20 ms of a processor.
pub const PASSWORD_CHECKS_MAX: usize = 2;
/// Bytes of a password: longer ones only cost time.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Attempts to sign in from one address, or as one user, in a minute; and ways back from an issuer to one address.
pub const SIGN_INS_A_MINUTE: u32 = 10;
/// Records of denied attempts that a site's audit log takes in a minute: it must not be filled by whoever is refused.
pub const DENIED_A_MINUTE: u32 = 60;
/// Records that wait for the audit log; beyond that, requests that need one are refused.
pub const AUDIT_QUEUE_MAX: usize = 1_024;
/// Bytes at which a sealed log goes on in a new file: it is read whole.
pub const LOG_FILE_BYTES: u64 = 1 << 20;
/// Bytes of one record of a sealed log: ids have at most 128 bytes, names are shortened.
pub const RECORD_BYTES_MAX: usize = 8 << 10;
/// Bytes of the configuration file: a thousand sites with their domains.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Days of incidents that the status page shows.
pub const INCIDENT_DAYS: u32 = 60;
