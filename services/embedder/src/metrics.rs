//! Metrics of the embedder.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntGauge, IntGaugeVec, register_int_counter, register_int_gauge,
    register_int_gauge_vec,
};

/// What an abandoned thread was doing; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakKind {
    /// Reading or examining a file on a mount that hangs.
    Disk,
    Decode,
}

impl LeakKind {
    const ALL: [Self; 2] = [Self::Disk, Self::Decode];

    pub fn label(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Decode => "decode",
        }
    }
}

const LEGAL: &str = "registered once, under a legal name";

pub static EMBEDDINGS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_embeddings_total",
        "Images that the network embedded for the index"
    )
    .expect(LEGAL)
});

pub static REUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_embeddings_reused_total",
        "Files with known content, whose vector was reused from the index or from memory"
    )
    .expect(LEGAL)
});

pub static REDELIVERIES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_redeliveries_total",
        "Events that JetStream redelivered because a worker did not finish them"
    )
    .expect(LEGAL)
});

pub static DEFERRED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "lookalike_deferred_total",
        "Events that a worker could not process now; their watcher sends them again later"
    )
    .expect(LEGAL)
});

pub static INTAKE_PAUSED: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "lookalike_intake_paused",
        "1 while no events are taken, because Milvus rejects writes or too many threads hang"
    )
    .expect(LEGAL)
});

pub static LEAKED_THREADS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "lookalike_leaked_threads",
        "Threads that were abandoned because their work did not end in time",
        &["kind"]
    )
    .expect(LEGAL)
});

/// Registers all metrics, so they are exported from the start.
pub fn register_metrics() {
    LazyLock::force(&EMBEDDINGS);
    LazyLock::force(&REUSED);
    LazyLock::force(&REDELIVERIES);
    LazyLock::force(&DEFERRED);
    lookalike_audit::register_metrics();
    LazyLock::force(&INTAKE_PAUSED);
    for kind in LeakKind::ALL {
        LEAKED_THREADS.with_label_values(&[kind.label()]).set(0);
    }
}
