//! What the embedder measures.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, histogram_opts,
    register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge,
    register_int_gauge_vec,
};

use crate::audit::DifferenceKind;
use crate::embed::leaked_threads::LeakKind;

const LEGAL: &str = "registered once, under a legal name";

/// Pictures that went through the network to be indexed.
pub static EMBEDDINGS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_embeddings_total",
        "Pictures that went through the network to be indexed"
    )
    .expect(LEGAL)
});

/// Vectors taken from the index or from memory.
pub static REUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_embeddings_reused_total",
        "Files whose content was known, so that their vector was taken from the index or from memory"
    )
    .expect(LEGAL)
});

/// Events that JetStream delivered again.
pub static REDELIVERIES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_redeliveries_total",
        "Events that JetStream delivered again, because a worker did not finish them"
    )
    .expect(LEGAL)
});

/// Events answered with "not now".
pub static DEFERRED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_deferred_total",
        "Events that a worker could not do at the moment, so that they are sent again later"
    )
    .expect(LEGAL)
});

/// 1 while no events are taken in.
pub static INTAKE_PAUSED: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_intake_paused",
        "1 while no events are taken in, because Milvus takes no writes or too many threads hang"
    )
    .expect(LEGAL)
});

/// Threads that nobody waits for any more.
pub static LEAKED_THREADS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_leaked_threads",
        "Threads that did not end in time and that nobody waits for any more",
        &["kind"]
    )
    .expect(LEGAL)
});

/// Rows that differ from what the catalogs know.
pub static DRIFT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_drift_rows",
        "Rows that the last audit found to differ from what the catalogs know, and that are not known to be repaired",
        &["kind"]
    )
    .expect(LEGAL)
});

/// Audits that this worker finished.
pub static AUDITS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_audits_total",
        "Comparisons of the whole index with the catalogs that were finished"
    )
    .expect(LEGAL)
});

/// How long they took.
pub static AUDIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    register_histogram!(histogram_opts!(
        "lookalike_audit_seconds",
        "Seconds of one comparison of the whole index with the catalogs",
        vec![0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0]
    ))
    .expect(LEGAL)
});

/// Differences that audits repaired.
pub static REPAIRED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "lookalike_repaired_total",
        "Rows that audits deleted, and images that they had sent again, by kind of difference",
        &["kind"]
    )
    .expect(LEGAL)
});

/// Shows so many differences of each kind.
pub fn set_drift(rows: impl Fn(DifferenceKind) -> u64) {
    for kind in DifferenceKind::ALL {
        let rows = i64::try_from(rows(kind)).unwrap_or(i64::MAX);
        DRIFT.with_label_values(&[kind.label()]).set(rows);
    }
}

/// Registers everything, so that it is shown from the start.
pub fn register_metrics() {
    LazyLock::force(&EMBEDDINGS);
    LazyLock::force(&REUSED);
    LazyLock::force(&REDELIVERIES);
    LazyLock::force(&DEFERRED);
    LazyLock::force(&AUDITS);
    LazyLock::force(&AUDIT_SECONDS);
    set_drift(|_| 0);
    for kind in DifferenceKind::ALL {
        REPAIRED.with_label_values(&[kind.label()]).inc_by(0);
    }
    LazyLock::force(&INTAKE_PAUSED);
    for errand in [LeakKind::Disk, LeakKind::Decode] {
        LEAKED_THREADS.with_label_values(&[errand.label()]).set(0);
    }
}
