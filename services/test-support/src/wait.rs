//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Repeats `check` until it returns a value. Panics with `what` and the last error of `check` when
/// `timeout` has passed.
pub async fn eventually<T, F, R>(what: &str, timeout: Duration, mut check: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        let error = match check().await {
            Ok(value) => return value,
            Err(error) => error,
        };
        assert!(
            begun.elapsed() < timeout,
            "{what}: not within {timeout:?}; last: {error}"
        );
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}
