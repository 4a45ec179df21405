//! Libraries that events name and this worker does not have.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lookalike_proto::LibraryName;

/// How often one library is warned of.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Libraries that are remembered; more are warned of anew.
const MAX_LIBRARIES: usize = 256;

/// When each of them was last warned of.
#[derive(Default)]
pub struct UnknownLibraries {
    warned: Mutex<HashMap<LibraryName, Instant>>,
}

impl UnknownLibraries {
    /// Says so, though not for every event.
    pub fn warn_about_library(&self, library: &LibraryName) {
        if self.is_warning_due(library, Instant::now()) {
            tracing::warn!(
                %library,
                "this worker does not have a library that events come for: they wait until one that \
                 has it takes them; give every worker the same libraries"
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
