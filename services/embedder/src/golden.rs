//! Compares the golden vector: the device of a worker must compute the same vector of the golden
//! picture as the device that created the index, before the worker takes any event.

use std::time::Duration;

use lookalike_chassis::Retry;
use lookalike_index::{Error as IndexError, ErrorClass, Index};
use lookalike_vision::{Engine, MIN_GOLDEN_COSINE};
use tokio_util::sync::CancellationToken;

/// Compares this engine with the index once. The first engine stores its vector.
pub(crate) async fn compare_golden_vector(
    index: &Index,
    engine: &Engine,
) -> Result<(), IndexError> {
    index
        .verify_or_store_golden(
            engine.golden(),
            MIN_GOLDEN_COSINE,
            &engine.describe_device(),
        )
        .await
}

/// Compares this engine with the index, and retries until Milvus answers or the worker shuts down.
///
/// # Errors
/// The vectors differ, or Milvus permanently refuses.
pub(crate) async fn verify_golden_vector(
    index: &Index,
    engine: &Engine,
    shutdown: &CancellationToken,
) -> Result<(), IndexError> {
    let mut retry = Retry::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        let error = match shutdown
            .run_until_cancelled(compare_golden_vector(index, engine))
            .await
        {
            None | Some(Ok(())) => return Ok(()),
            Some(Err(error)) => error,
        };
        if error.class() != ErrorClass::Retry {
            return Err(error);
        }
        tracing::warn!(%error, "cannot compare the golden vector now, retrying");
        if matches!(error, IndexError::Missing { .. }) {
            // The first writer would create the collection, too; nothing writes before this check.
            let _ = shutdown
                .run_until_cancelled(index.ensure_collection())
                .await;
        }
        match shutdown.run_until_cancelled(retry.wait_after(error)).await {
            None => return Ok(()),
            Some(waited) => waited?,
        }
    }
}
