//! Before a worker takes anything in: its device makes the same vector of the golden picture as the
//! one that began the index.

use std::time::Duration;

use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Fate, Index};
use lookalike_vision::{Engine, LEAST_COSINE};
use tokio_util::sync::CancellationToken;

/// Compares this engine with the index, once.
pub(crate) async fn keep(index: &Index, engine: &Engine) -> Result<(), IndexError> {
    index
        .keep_golden(engine.golden(), LEAST_COSINE, &engine.device_line())
        .await
}

/// Compares, as often as it takes until Milvus answers, or until asked to leave.
///
/// # Errors
/// When the vectors differ.
pub(crate) async fn is_kept(
    index: &Index,
    engine: &Engine,
    leave: &CancellationToken,
) -> Result<(), IndexError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        let error = match leave.run_until_cancelled(keep(index, engine)).await {
            None | Some(Ok(())) => return Ok(()),
            Some(Err(error)) => error,
        };
        if error.fate() != Fate::Retry {
            return Err(error);
        }
        tracing::warn!(%error, "the golden vector can't be compared now, trying again");
        if matches!(error, IndexError::Missing { .. }) {
            // Made anew by whoever writes first; this is as good a moment.
            let _ = leave.run_until_cancelled(index.ensure()).await;
        }
        let wait = tokio::time::sleep(backoff.next_wait());
        if leave.run_until_cancelled(wait).await.is_none() {
            return Ok(());
        }
    }
}
