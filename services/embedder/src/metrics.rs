//! What the embedder measures.

use std::sync::LazyLock;

use prometheus::{IntCounter, register_int_counter};

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

/// Registers everything, so that it is shown from the start.
pub fn register() {
    LazyLock::force(&EMBEDDINGS);
    LazyLock::force(&REUSED);
    LazyLock::force(&REDELIVERIES);
}
