//! Putting up with an index that is busy.

use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Fate};

/// Waits where it may go better in a moment, up to so many `tries`; gives the error back where it
/// will not.
pub(crate) async fn put_up_with(
    error: IndexError,
    backoff: &mut Backoff,
    tries: u32,
) -> Result<(), IndexError> {
    let may_go_well = error.fate() == Fate::Retry && !matches!(error, IndexError::Missing { .. });
    if !may_go_well || backoff.tries() + 1 >= tries {
        return Err(error);
    }
    tracing::debug!(%error, "the index is busy, asking again");
    tokio::time::sleep(backoff.next_wait()).await;
    Ok(())
}
