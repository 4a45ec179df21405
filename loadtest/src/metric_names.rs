//! The metrics that lookalike shows at `/metrics`, as dashboards may use them.
//!
//! The dashboard's test checks every query against this list, and the system tests can compare
//! the list with what the running roles really show, so neither drifts.

/// What kind of metric it is, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts by bucket: shows as `…_bucket`, `…_sum` and `…_count`.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind, labels }
}

use Kind::{Counter, Gauge, Histogram};

/// All metrics of all roles, and those of the process itself (on Linux).
pub const METRICS: &[Metric] = &[
    metric("lookalike_files", Gauge, &["library", "state"]),
    metric("lookalike_watch_degraded", Gauge, &["library", "reason"]),
    metric("lookalike_watched_folders", Gauge, &["library"]),
    metric("lookalike_unwatched_folders", Gauge, &["library"]),
    metric("lookalike_unaccounted_files", Gauge, &["library"]),
    metric("lookalike_events_published_total", Counter, &[]),
    metric("lookalike_queue_pending", Gauge, &[]),
    metric("lookalike_queue_oldest_seconds", Gauge, &[]),
    metric("lookalike_file_to_searchable_seconds", Histogram, &[]),
    metric("lookalike_stage_seconds", Histogram, &["stage"]),
    metric("lookalike_batch_size", Histogram, &[]),
    metric("lookalike_device_info", Gauge, &["device", "model"]),
    metric("lookalike_embeddings_total", Counter, &[]),
    metric("lookalike_embeddings_reused_total", Counter, &[]),
    metric("lookalike_failures", Counter, &["code"]),
    metric("lookalike_redeliveries_total", Counter, &[]),
    metric("lookalike_put_off_total", Counter, &[]),
    metric("lookalike_intake_paused", Gauge, &[]),
    metric("lookalike_stray_threads", Gauge, &["errand"]),
    metric("lookalike_search_seconds", Histogram, &["kind"]),
    metric("lookalike_search_embed_seconds", Histogram, &[]),
    metric("lookalike_milvus_seconds", Histogram, &["call"]),
    metric("lookalike_drift_rows", Gauge, &["kind"]),
    metric("lookalike_audits_total", Counter, &[]),
    metric("lookalike_audit_seconds", Histogram, &[]),
    metric("lookalike_repaired_total", Counter, &["kind"]),
    metric(
        "lookalike_http_requests_total",
        Counter,
        &["route", "status"],
    ),
    metric("lookalike_thumbnail_cache_bytes", Gauge, &[]),
    metric("process_cpu_seconds_total", Counter, &[]),
    metric("process_max_fds", Gauge, &[]),
    metric("process_open_fds", Gauge, &[]),
    metric("process_resident_memory_bytes", Gauge, &[]),
    metric("process_start_time_seconds", Gauge, &[]),
    metric("process_threads", Gauge, &[]),
    metric("process_virtual_memory_bytes", Gauge, &[]),
];

/// The metric that a series of this name belongs to.
pub fn of_series(series: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| series.strip_suffix(suffix) == Some(metric.name)),
        Kind::Counter | Kind::Gauge => series == metric.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_find_their_metric() {
        let name = |series| of_series(series).map(|metric| metric.name);
        assert_eq!(
            name("lookalike_batch_size_bucket"),
            Some("lookalike_batch_size")
        );
        assert_eq!(name("lookalike_batch_size"), None);
        assert_eq!(name("lookalike_files"), Some("lookalike_files"));
        assert_eq!(name("lookalike_nonsense"), None);
    }
}
