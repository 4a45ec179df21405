//! Classifies errors of the index for retries.

use lookalike_index::{Error as IndexError, ErrorClass};

/// Returns whether repeating the call may succeed. A missing collection does not count: the caller
/// must decide whether to create it.
pub fn is_transient(error: &IndexError) -> bool {
    error.class() == ErrorClass::Retry && !matches!(error, IndexError::Missing { .. })
}
