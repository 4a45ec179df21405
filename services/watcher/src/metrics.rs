//! Metrics of the watcher.

use std::sync::LazyLock;

use lookalike_bus::FileCounts;
use lookalike_chassis::metrics::SECONDS_BUCKETS;
use lookalike_proto::reasons;
use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, histogram_opts,
    register_gauge, register_histogram, register_int_counter, register_int_counter_vec,
    register_int_gauge, register_int_gauge_vec,
};

const LEGAL: &str = "registered once, under a legal name";

static FILES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_files",
        "Files of a library by state",
        &["library", "state"]
    )
    .expect(LEGAL)
});

pub static WATCH_DEGRADED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_watch_degraded",
        "1 while a library may lag behind its folder for this reason",
        &["library", "reason"]
    )
    .expect(LEGAL)
});

pub static WATCHED_FOLDERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_watched_folders",
        "Folders of a library whose changes the system reports",
        &["library"]
    )
    .expect(LEGAL)
});

pub static UNWATCHED_FOLDERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_unwatched_folders",
        "Folders of a library that are polled every watch.poll_interval because no watch is available",
        &["library"]
    )
    .expect(LEGAL)
});

/// Guarantee 8, checked against the disk.
pub static UNACCOUNTED_FILES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_unaccounted_files",
        "Files that the last undisturbed full scan found, less those in the catalog; always 0",
        &["library"]
    )
    .expect(LEGAL)
});

pub static CONTENT_CHECKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "lookalike_content_checks_total",
        "Files whose rights or link count changed and whose content was compared, by result",
        &["result"]
    )
    .expect(LEGAL)
});

pub static EVENTS_PUBLISHED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_events_published_total",
        "Events that JetStream stored"
    )
    .expect(LEGAL)
});

pub static QUEUE_PENDING: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_queue_pending",
        "Unacknowledged events in the stream"
    )
    .expect(LEGAL)
});

pub static QUEUE_OLDEST_SECONDS: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "lookalike_queue_oldest_seconds",
        "Seconds since the oldest event in the stream was stored"
    )
    .expect(LEGAL)
});

pub static FILE_TO_SEARCHABLE: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_file_to_searchable_seconds",
        "Seconds from the observation of a change to its row in the index",
        SECONDS_BUCKETS.to_vec()
    ))
    .expect(LEGAL)
});

pub static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "lookalike_failures",
        "Files that could not be indexed, by code",
        &["code"]
    )
    .expect(LEGAL)
});

/// Returns the code if it is a known one, else `other`.
pub fn code_label(code: &str) -> &'static str {
    lookalike_proto::reasons::metric_label(code)
}

pub fn set_file_counts(library: &str, counts: &FileCounts) {
    let states = [
        ("indexed", counts.indexed),
        ("failed", counts.failed),
        ("ignored", counts.ignored),
        ("in_flight", counts.in_flight),
    ];
    for (state, files) in states {
        FILES
            .with_label_values(&[library, state])
            .set(i64::try_from(files).unwrap_or(i64::MAX));
    }
}

/// Registers every metric, so that all are exported from the start.
pub fn register_metrics() {
    LazyLock::force(&FILES);
    LazyLock::force(&WATCH_DEGRADED);
    LazyLock::force(&UNACCOUNTED_FILES);
    LazyLock::force(&WATCHED_FOLDERS);
    LazyLock::force(&UNWATCHED_FOLDERS);
    LazyLock::force(&CONTENT_CHECKS);
    LazyLock::force(&EVENTS_PUBLISHED);
    LazyLock::force(&QUEUE_PENDING);
    LazyLock::force(&QUEUE_OLDEST_SECONDS);
    LazyLock::force(&FILE_TO_SEARCHABLE);
    // Rates need a first value: without it, the first failure of a code would not count.
    for code in reasons::REASONS.iter().map(|reason| reason.code) {
        FAILURES.with_label_values(&[code]);
    }
    FAILURES.with_label_values(&[code_label("")]);
}
