//! Warns of libraries that events name and this worker does not have.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lookalike_proto::LibraryName;

/// Minimum time between two warnings of one library.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Libraries whose warnings are remembered. Beyond that, all are forgotten and warned of again.
const MAX_LIBRARIES: usize = 256;

#[derive(Default)]
pub struct UnknownLibraries {
    /// Time of the last warning.
    warned: Mutex<HashMap<LibraryName, Instant>>,
}

impl UnknownLibraries {
    /// Logs a warning, at most once a minute for each library.
    pub fn warn_about_library(&self, library: &LibraryName) {
        if self.is_warning_due(library, Instant::now()) {
            tracing::warn!(
                %library,
                "no folder is configured here for this event's library; deferring the event. \
                 Configure the same libraries for every embedder."
            );
        }
    }

    fn is_warning_due(&self, library: &LibraryName, now: Instant) -> bool {
        let mut warned = self.warned.lock().expect("no holder of this lock panics");
        if warned
            .get(library)
            .is_some_and(|when| now.duration_since(*when) < WARN_INTERVAL)
        {
            return false;
        }
        if warned.len() >= MAX_LIBRARIES {
            warned.clear();
        }
        warned.insert(library.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_library_is_news_once_a_minute() {
        let absent = UnknownLibraries::default();
        let now = Instant::now();
        let (a, b) = (
            LibraryName::new("a").unwrap(),
            LibraryName::new("b").unwrap(),
        );
        assert!(absent.is_warning_due(&a, now));
        assert!(!absent.is_warning_due(&a, now + WARN_INTERVAL / 2));
        assert!(absent.is_warning_due(&b, now));
        assert!(absent.is_warning_due(&a, now + WARN_INTERVAL));
    }
}
