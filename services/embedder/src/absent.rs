//! Libraries that events name and this worker does not have.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lookalike_proto::Library;

/// How often one library is warned of.
const EVERY: Duration = Duration::from_secs(60);

/// Libraries that are remembered; more are warned of anew.
const MOST: usize = 256;

/// When each of them was last warned of.
#[derive(Default)]
pub struct Absent {
    warned: Mutex<HashMap<Library, Instant>>,
}

impl Absent {
    /// Says so, though not for every event.
    pub fn warn(&self, library: &Library) {
        if self.is_news(library, Instant::now()) {
            tracing::warn!(
                %library,
                "this worker does not have a library that events come for: they wait until one that \
                 has it takes them; give every worker the same libraries"
            );
        }
    }

    fn is_news(&self, library: &Library, now: Instant) -> bool {
        let mut warned = self.warned.lock().expect("no holder of this lock panics");
        if warned
            .get(library)
            .is_some_and(|when| now.duration_since(*when) < EVERY)
        {
            return false;
        }
        if warned.len() >= MOST {
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
        let absent = Absent::default();
        let now = Instant::now();
        let (a, b) = (Library::new("a").unwrap(), Library::new("b").unwrap());
        assert!(absent.is_news(&a, now));
        assert!(!absent.is_news(&a, now + EVERY / 2));
        assert!(absent.is_news(&b, now));
        assert!(absent.is_news(&a, now + EVERY));
    }
}
