//! Metrics that several roles share, and the text of `/metrics`.
//!
//! Each crate registers its own metrics in prometheus' default registry, in its `metrics.rs`. On
//! Linux, the process collector adds memory, CPU time and open files.

use std::sync::LazyLock;

use prometheus::{Encoder as _, HistogramVec, TextEncoder, histogram_opts, register_histogram_vec};

/// Histogram buckets in seconds, from 0.5 ms to two minutes.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

/// Duration of one processing step of an image; label `stage` is one of `read`, `decode`,
/// `preprocess`, `network`, `upsert`, `outcome`.
pub static STAGE_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!(
        histogram_opts!(
            "lookalike_stage_seconds",
            "Seconds that one processing step of an image took",
            SECONDS_BUCKETS.to_vec()
        ),
        &["stage"]
    )
    .expect("registered once, under a legal name")
});

/// Renders the default registry in Prometheus' text format.
pub fn render_metrics() -> String {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&prometheus::gather(), &mut text)
        .expect("writing to memory does not fail, and every metric has a legal name");
    String::from_utf8_lossy(&text).into_owned()
}
