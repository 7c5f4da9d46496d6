//! The limits on input, with their reasons. The table in the [format](crate::format) has them, too, and those that stand beside their code: of
//! Argon2id, key files, the pieces of a keyring, receipts, sealers.

/// Longest site id in bytes: it appears in paths and host names of tools.
pub const SITE_ID_BYTES_MAX: usize = 64;
/// Longest session or visitor id in bytes: longer than any recorder's.
pub const SESSION_ID_BYTES_MAX: usize = 128;
/// Most attributes of a session: they label it, they are no place for data.
pub const ATTRIBUTES_MAX: usize = 16;
/// Longest name of an attribute in bytes.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Longest value of an attribute in bytes.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 1024;
/// Largest chunk in bytes of NDJSON: four times the largest full snapshot; it bounds the memory of one append.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Most events in a chunk: it bounds the work of one append.
pub const CHUNK_EVENTS_MAX: usize = 65_536;
/// Most full snapshots in a chunk: it bounds the envelope of a frame.
pub const CHUNK_SNAPSHOTS_MAX: usize = 256;
/// First sequence number that is not accepted: a week at one chunk every two seconds. It also bounds the
/// messages that one session key seals.
pub const SEQUENCE_MAX: u64 = 1 << 18;
/// Earliest accepted time of an event: 2000-01-01, before any recorder.
pub const EVENT_MS_MIN: u64 = 946_684_800_000;
/// How far ahead of the engine's clock an event may lie: a recorder's wrong clock must not make a session
/// outlive its retention class.
pub const EVENT_AHEAD_MS_MAX: u64 = 24 * 3_600_000;
/// How long after the start of its session an event may lie: 24 hours of recording and a late upload. A
/// session is a whole, belongs to the day on which it started, and expires whole.
pub const SESSION_SPAN_MS_MAX: u64 = 2 * DAY_MS;
/// Longest retention class in days: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// Longest reason of a hold in bytes: a note, not a file.
pub const HOLD_REASON_BYTES_MAX: usize = 1_024;
/// Most shards of a store.
pub const SHARDS_MAX: u16 = 256;
/// Most sites of a store: it bounds the keyring, which is in memory whole.
pub const SITES_MAX: usize = 1 << 20;
/// Smallest size in bytes at which a journal is rotated: below it, files outnumber frames.
pub const JOURNAL_BYTES_MIN: u32 = 64 << 10;
/// Largest size in bytes at which a journal is rotated: offsets in it are 32-bit, and one frame may pass it.
pub const JOURNAL_BYTES_MAX: u32 = 1 << 30;
/// Most sessions that one erasure names: it bounds the records of the log of deletions, and the keyring, which holds the
/// last one.
pub const ERASED_SESSIONS_MAX: usize = 1 << 17;
/// Most sessions that one page of a listing holds: it bounds the memory of a request.
pub const PAGE_SESSIONS_MAX: usize = 1_000;
/// Cleartext of a block in bytes before which it is cut: it bounds the memory of a replay.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
/// Largest cleartext of a block with its chunk table: a full block and one chunk. Nothing larger is allocated on
/// the word of a file.
pub const BLOCK_PLAIN_BYTES_MAX: usize = BLOCK_BYTES_MAX + CHUNK_BYTES_MAX;
/// Largest unit of an index in bytes. Nothing larger is allocated on the word of a file.
pub const INDEX_UNIT_BYTES_MAX: usize = 64 << 20;
/// Largest manifest in bytes, and largest keyring with its parts. Nothing larger is allocated on the word of a file.
pub const STATE_BYTES_MAX: usize = 1 << 30;

/// Cleartext of a block in bytes from which it ends before the next playable stretch.
pub const BLOCK_BYTES_TARGET: usize = 4 << 20;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// Most pieces of which a file of a snapshot is put together: it bounds what is opened for one file.
pub const PIECES_MAX: usize = 4_096;
/// Shortest grace time of a prune in milliseconds, a day: four times as long as a backup goes on without looking again at
/// what is there.
pub const PRUNE_GRACE_MS_MIN: u64 = DAY_MS;
