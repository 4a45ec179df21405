//! What the embedder measures.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntGauge, IntGaugeVec, register_int_counter, register_int_gauge,
    register_int_gauge_vec,
};

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

/// Registers everything, so that it is shown from the start.
pub fn register_metrics() {
    LazyLock::force(&EMBEDDINGS);
    LazyLock::force(&REUSED);
    LazyLock::force(&REDELIVERIES);
    LazyLock::force(&DEFERRED);
    lookalike_audit::register_metrics();
    LazyLock::force(&INTAKE_PAUSED);
    for errand in [LeakKind::Disk, LeakKind::Decode] {
        LEAKED_THREADS.with_label_values(&[errand.label()]).set(0);
    }
}
