//! What is recorded: every byte of it follows from site, session and number, so that whoever knows those knows what must be there.

use std::borrow::Cow;
use std::fmt;

use reelvault::env::sim::SplitMix;
use reelvault::{Chunk, InputError, Session, SessionId, Snapshot, VisitorId};

/// The sites that are recorded.
pub const SITES: [&str; 3] = ["a.example", "b.example", "c.example"];
/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// Retention class in days of sessions that are to stay.
pub const KEPT_DAYS: u32 = 30_000;

/// A session by its name: who made it when, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its site.
    pub site: String,
    /// Its id at that site.
    pub id: String,
}

impl Name {
    /// A new session: the `number`th of a thread in a round.
    #[must_use]
    pub fn new(site: &str, round: u64, thread: u64, number: u64, days: u32) -> Self {
        Self { site: site.to_owned(), id: format!("s-{round}-{thread}-{number}-{days}") }
    }

    /// One that is there.
    #[must_use]
    pub fn of(site: &str, id: &str) -> Self {
        Self { site: site.to_owned(), id: id.to_owned() }
    }

    fn field(&self, n: usize) -> u64 {
        self.id.split('-').nth(n).and_then(|f| f.parse().ok()).unwrap_or_default()
    }

    /// Its retention class in days.
    #[must_use]
    pub fn days(&self) -> u32 {
        u32::try_from(self.field(4)).unwrap_or(KEPT_DAYS)
    }

    /// When it starts, in Unix milliseconds: on one of the three days that end with that of `base_ms`.
    #[must_use]
    pub fn start_ms(&self, base_ms: u64) -> u64 {
        base_ms - (self.field(3) % 3) * DAY_MS
    }

    /// The first day on which it is not kept any more, in days since 1970-01-01.
    #[must_use]
    pub fn expiry_day(&self, base_ms: u64) -> u32 {
        let start_day = u32::try_from(self.start_ms(base_ms) / DAY_MS).unwrap_or(u32::MAX);
        start_day.saturating_add(self.days()).saturating_add(1)
    }

    /// What is told of it with each chunk.
    ///
    /// # Errors
    /// If it is no name of ours.
    pub fn session(&self) -> Result<Session, InputError> {
        let visitor = format!("v-{}", self.field(3) % 50);
        Session::new(SessionId::new(&self.id)?)
            .visitor(VisitorId::new(visitor)?)
            .retention_days(self.days())
    }

    /// The chunk with this number.
    #[must_use]
    pub fn chunk(&self, seq: u64, base_ms: u64) -> Chunk<'static> {
        let ms = self.start_ms(base_ms) + seq * 100;
        let mut random = SplitMix::new(hash(&self.site) ^ hash(&self.id).rotate_left(17) ^ seq);
        // Mostly a few events, now and then a page with all that is on it.
        let bytes = match random.below(40) {
            0 => 40_000,
            1..=4 => 8_000,
            _ => 200 + random.below(2_000) as usize,
        };
        let mut events = Vec::with_capacity(bytes + 200);
        while events.len() < bytes {
            let (a, b) = (random.draw(), random.draw());
            events.extend_from_slice(
                format!(
                    "{{\"type\":3,\"timestamp\":{ms},\"data\":{{\"text\":\"{} {seq} {a:x}{b:x}\"}}}}\n",
                    self.id
                )
                .as_bytes(),
            );
        }
        let snapshots = match seq.is_multiple_of(8) {
            true => vec![Snapshot { offset: 0, ms }],
            false => Vec::new(),
        };
        Chunk { seq, first_ms: ms, last_ms: ms, events: Cow::Owned(events), snapshots }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.site, self.id)
    }
}

/// FNV-1a: spreads names over the seeds.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
