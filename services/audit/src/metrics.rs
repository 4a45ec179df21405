//! Metrics of audits.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGaugeVec, histogram_opts, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge_vec,
};

use crate::compare::DifferenceKind;

const LEGAL: &str = "registered once, under a legal name";

pub(crate) static DRIFT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_drift_rows",
        "Rows that the last audit found to differ from the catalogs and that were not confirmed as repaired",
        &["kind"]
    )
    .expect(LEGAL)
});

pub(crate) static AUDITS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_audits_total",
        "Finished comparisons of the whole index with the catalogs"
    )
    .expect(LEGAL)
});

pub(crate) static AUDIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_audit_seconds",
        "Seconds of one comparison of the whole index with the catalogs",
        vec![0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0]
    ))
    .expect(LEGAL)
});

pub(crate) static REPAIRED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "lookalike_repaired_total",
        "Rows deleted by audits and images resent on their request, by kind of difference",
        &["kind"]
    )
    .expect(LEGAL)
});

pub(crate) fn set_drift(rows: impl Fn(DifferenceKind) -> u64) {
    for kind in DifferenceKind::ALL {
        let rows = i64::try_from(rows(kind)).unwrap_or(i64::MAX);
        DRIFT.with_label_values(&[kind.label()]).set(rows);
    }
}

/// Registers all metrics of audits, so that they are exported from the start.
pub fn register_metrics() {
    LazyLock::force(&AUDITS);
    LazyLock::force(&AUDIT_SECONDS);
    set_drift(|_| 0);
    for kind in DifferenceKind::ALL {
        REPAIRED.with_label_values(&[kind.label()]).inc_by(0);
    }
}
