//! Putting up with an index that is busy.

use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, ErrorClass};

/// Waits where it may go better in a moment, up to so many `max_tries`; gives the error back where it
/// will not.
pub(crate) async fn backoff_or_fail(
    error: IndexError,
    backoff: &mut Backoff,
    max_tries: u32,
) -> Result<(), IndexError> {
    let is_transient =
        error.class() == ErrorClass::Retry && !matches!(error, IndexError::Missing { .. });
    if !is_transient || backoff.attempts() + 1 >= max_tries {
        return Err(error);
    }
    tracing::debug!(%error, "the index is busy, asking again");
    tokio::time::sleep(backoff.next_delay()).await;
    Ok(())
}
