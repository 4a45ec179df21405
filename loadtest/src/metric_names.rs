//! The metrics that lookalike exports at `/metrics`.
//!
//! A test checks every query of the dashboard against this list. The system tests compare the list
//! with the metrics that running roles export.

/// Type of a metric, as Prometheus defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// Exported as `…_bucket`, `…_sum` and `…_count`.
    Histogram,
}

#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
}

const fn new_metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
) -> Metric {
    Metric { name, kind, labels }
}

use MetricKind::{Counter, Gauge, Histogram};

/// All metrics of all roles, and those of the process (on Linux).
pub const METRICS: &[Metric] = &[
    new_metric("lookalike_files", Gauge, &["library", "state"]),
    new_metric("lookalike_watch_degraded", Gauge, &["library", "reason"]),
    new_metric("lookalike_watched_folders", Gauge, &["library"]),
    new_metric("lookalike_unwatched_folders", Gauge, &["library"]),
    new_metric("lookalike_unaccounted_files", Gauge, &["library"]),
    new_metric("lookalike_events_published_total", Counter, &[]),
    new_metric("lookalike_queue_pending", Gauge, &[]),
    new_metric("lookalike_queue_oldest_seconds", Gauge, &[]),
    new_metric("lookalike_file_to_searchable_seconds", Histogram, &[]),
    new_metric("lookalike_stage_seconds", Histogram, &["stage"]),
    new_metric("lookalike_batch_size", Histogram, &[]),
    new_metric("lookalike_device_info", Gauge, &["device", "model"]),
    new_metric("lookalike_device_failures_total", Counter, &["device"]),
    new_metric("lookalike_embeddings_total", Counter, &[]),
    new_metric("lookalike_embeddings_reused_total", Counter, &[]),
    new_metric("lookalike_failures", Counter, &["code"]),
    new_metric("lookalike_redeliveries_total", Counter, &[]),
    new_metric("lookalike_deferred_total", Counter, &[]),
    new_metric("lookalike_intake_paused", Gauge, &[]),
    new_metric("lookalike_leaked_threads", Gauge, &["kind"]),
    new_metric("lookalike_search_seconds", Histogram, &["kind"]),
    new_metric("lookalike_search_embed_seconds", Histogram, &[]),
    new_metric("lookalike_saved_search_matches_total", Counter, &[]),
    new_metric("lookalike_webhook_requests_total", Counter, &["result"]),
    new_metric("lookalike_uploads_total", Counter, &["result"]),
    new_metric("lookalike_trashed_files_total", Counter, &[]),
    new_metric("lookalike_query_retries_total", Counter, &["reason"]),
    new_metric("lookalike_ejected_embedders", Gauge, &[]),
    new_metric("lookalike_milvus_seconds", Histogram, &["call"]),
    new_metric("lookalike_drift_rows", Gauge, &["kind"]),
    new_metric("lookalike_audits_total", Counter, &[]),
    new_metric("lookalike_audit_seconds", Histogram, &[]),
    new_metric("lookalike_repaired_total", Counter, &["kind"]),
    new_metric(
        "lookalike_http_requests_total",
        Counter,
        &["route", "status"],
    ),
    new_metric("lookalike_thumbnail_cache_bytes", Gauge, &[]),
    new_metric("process_cpu_seconds_total", Counter, &[]),
    new_metric("process_max_fds", Gauge, &[]),
    new_metric("process_open_fds", Gauge, &[]),
    new_metric("process_resident_memory_bytes", Gauge, &[]),
    new_metric("process_start_time_seconds", Gauge, &[]),
    new_metric("process_threads", Gauge, &[]),
    new_metric("process_virtual_memory_bytes", Gauge, &[]),
];

/// Returns the metric that exports a series of this name.
pub fn find_by_series(series: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| series.strip_suffix(suffix) == Some(metric.name)),
        MetricKind::Counter | MetricKind::Gauge => series == metric.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_find_their_metric() {
        let name = |series| find_by_series(series).map(|metric| metric.name);
        assert_eq!(
            name("lookalike_batch_size_bucket"),
            Some("lookalike_batch_size")
        );
        assert_eq!(name("lookalike_batch_size"), None);
        assert_eq!(name("lookalike_files"), Some("lookalike_files"));
        assert_eq!(name("lookalike_nonsense"), None);
    }
}
