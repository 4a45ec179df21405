//! Metrics of queries for vectors.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, opts, register_int_counter_vec, register_int_gauge};

/// Why a query was sent to another embedder: the label `reason` of [`QUERY_RETRIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryReason {
    /// The answer took much longer than usual.
    Slow,
    /// The embedder answered no query at all.
    Silent,
    /// The embedder refused the query, or had ended.
    Refused,
    /// Tests whether an ejected embedder works again.
    Probe,
}

impl RetryReason {
    const ALL: [Self; 4] = [Self::Slow, Self::Silent, Self::Refused, Self::Probe];

    const fn label(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Probe => "probe",
        }
    }
}

static QUERY_RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        opts!(
            "lookalike_query_retries_total",
            "Queries for a vector that were sent to another embedder as well, by reason"
        ),
        &["reason"]
    )
    .expect("registered once, under a legal name")
});

/// Embedders that get no queries from this process because they answer none.
pub(crate) static EJECTED_EMBEDDERS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_ejected_embedders",
        "Embedders that get no queries from this process because they answer none"
    )
    .expect("registered once, under a legal name")
});

pub(crate) fn count_retry(reason: RetryReason) {
    QUERY_RETRIES.with_label_values(&[reason.label()]).inc();
}

/// Registers all metrics, so they are exported from the start.
pub fn register_metrics() {
    for reason in RetryReason::ALL {
        QUERY_RETRIES.with_label_values(&[reason.label()]);
    }
    LazyLock::force(&EJECTED_EMBEDDERS);
}
