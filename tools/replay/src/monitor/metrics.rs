//! Figures for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::problem::UNREADABLE;

/// The request that is counted. The route is a pattern, never an address with ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    pub(crate) kind: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All figures. Those of the store are set when they are asked for.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<RouteLabels, Counter>,
    pub(crate) latency: Family<RouteOnly, Histogram, fn() -> Histogram>,
    pub(crate) bytes: Counter,
    pub(crate) frames: Family<Kind, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) refused: Family<Kind, Counter>,
    pub(crate) read_errors: Family<Kind, Counter>,
    pub(crate) sign_ins: Family<Kind, Counter>,
    pub(crate) audit_failed: Gauge,
    pub(crate) audit_dropped: Gauge,
    pub(crate) backup_age: Seconds,
    pub(crate) backlog: Gauge,
    pub(crate) overdue_days: Gauge,
    pub(crate) poisoned: Gauge,
    pub(crate) stuck: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) segment_bytes: Gauge,
    pub(crate) live_sessions: Gauge,
    pub(crate) index_hits: Gauge,
    pub(crate) index_misses: Gauge,
    pub(crate) index_bytes: Gauge,
    pub(crate) keyring_generation: Gauge,
    pub(crate) refresh_age: Seconds,
    pub(crate) scrubbed: Counter,
    pub(crate) scrub_progress: Seconds,
    pub(crate) oldest_unverified: Seconds,
    pub(crate) damaged_files: Gauge,
    pub(crate) incidents: Family<Kind, Gauge>,
    pub(crate) check_ok: Family<Kind, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteOnly {
    pub(crate) route: String,
}

/// From a list out of memory to a cold replay from far away, in seconds.
fn latency() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            registry: Registry::with_prefix("reelvault"),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency),
            bytes: Counter::default(),
            frames: Family::default(),
            connections: Gauge::default(),
            refused: Family::default(),
            read_errors: Family::default(),
            sign_ins: Family::default(),
            audit_failed: Gauge::default(),
            audit_dropped: Gauge::default(),
            backup_age: Seconds::default(),
            backlog: Gauge::default(),
            overdue_days: Gauge::default(),
            poisoned: Gauge::default(),
            stuck: Gauge::default(),
            segments: Gauge::default(),
            segment_bytes: Gauge::default(),
            live_sessions: Gauge::default(),
            index_hits: Gauge::default(),
            index_misses: Gauge::default(),
            index_bytes: Gauge::default(),
            keyring_generation: Gauge::default(),
            refresh_age: Seconds::default(),
            scrubbed: Counter::default(),
            scrub_progress: Seconds::default(),
            oldest_unverified: Seconds::default(),
            damaged_files: Gauge::default(),
            incidents: Family::default(),
            check_ok: Family::default(),
        }
        .begin()
        .register()
    }

    /// Begins to count at zero: what was never counted could not be seen to rise.
    fn begin(self) -> Self {
        let begin = |family: &Family<Kind, Counter>, kinds: &[&'static str]| {
            for kind in kinds {
                drop(family.get_or_create(&Kind { kind }));
            }
        };
        let damage = ["rot", "decrypt", "missing", "swapped", "malformed", UNREADABLE];
        begin(&self.read_errors, &damage);
        begin(&self.sign_ins, &["ok", "refused"]);
        begin(&self.frames, &["as_stored", "packed_anew"]);
        let limits = ["address", "requests", "time", "connections", "connections_per_address"];
        begin(&self.refused, &limits);
        begin(&self.refused, &["handshake", "requests_per_address", "stalled"]);
        self
    }

    fn register(mut self) -> Self {
        let r = &mut self.registry;
        r.register("requests", "Requests answered", self.requests.clone());
        let time = "Time until the answer began";
        r.register_with_unit("request_duration", time, Unit::Seconds, self.latency.clone());
        r.register("sent_bytes", "Bytes of bodies sent", self.bytes.clone());
        let frames = "zstd frames of replays, passed on as stored or packed anew";
        r.register("replayed_frames", frames, self.frames.clone());
        r.register("connections", "Connections that are open", self.connections.clone());
        r.register("refused", "Connections and requests refused by a limit", self.refused.clone());
        let read = "Reads of the store that met damage, by kind";
        r.register("read_errors", read, self.read_errors.clone());
        r.register("sign_ins", "Attempts to sign in, by outcome", self.sign_ins.clone());
        let failed = "Audit records that could not be written";
        r.register("audit_failed", failed, self.audit_failed.clone());
        let dropped = "Refused attempts left out of the audit log, for there were too many";
        r.register("audit_dropped", dropped, self.audit_dropped.clone());
        let age = "Age of the backup that is served; not set for a live store";
        r.register_with_unit("backup_age", age, Unit::Seconds, self.backup_age.clone());
        let backlog = "Bytes of journals that wait for the archiver";
        r.register_with_unit("archive_backlog", backlog, Unit::Bytes, self.backlog.clone());
        let overdue = "Days since the oldest segment should have been dropped";
        r.register("retention_overdue_days", overdue, self.overdue_days.clone());
        r.register("poisoned_shards", "Shards that take no appends", self.poisoned.clone());
        r.register("stuck_journals", "Journals that cannot be archived", self.stuck.clone());
        r.register("segments", "Segments", self.segments.clone());
        r.register_with_unit("segment", "All segments", Unit::Bytes, self.segment_bytes.clone());
        r.register("live_sessions", "Sessions with chunks in journals", self.live_sessions.clone());
        let hits = "Indexes that were in memory when they were looked for";
        r.register("index_cache_hits", hits, self.index_hits.clone());
        let misses = "Indexes that had to be read";
        r.register("index_cache_misses", misses, self.index_misses.clone());
        let held = "Indexes in memory";
        r.register_with_unit("index_cache", held, Unit::Bytes, self.index_bytes.clone());
        let generation = "Generation of the keyring";
        r.register("keyring_generation", generation, self.keyring_generation.clone());
        let refresh = "Time since the store was last taken in";
        r.register_with_unit("refresh_age", refresh, Unit::Seconds, self.refresh_age.clone());
        let scrubbed = "Bytes that the integrity scrub has verified";
        r.register("scrubbed_bytes", scrubbed, self.scrubbed.clone());
        let progress = "Share of the segments that the present round has verified";
        r.register("scrub_progress_ratio", progress, self.scrub_progress.clone());
        let oldest = "Age of the byte whose last verification is longest ago";
        r.register_with_unit(
            "oldest_unverified",
            oldest,
            Unit::Seconds,
            self.oldest_unverified.clone(),
        );
        r.register("damaged_files", "Files known to be damaged", self.damaged_files.clone());
        r.register("open_incidents", "Incidents that are open", self.incidents.clone());
        r.register("check_ok", "Whether a check of the status page passes", self.check_ok.clone());
        self
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.latency.get_or_create(&RouteOnly { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&RouteLabels { method, route, status }).inc();
    }
}
