//! The status publisher.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lookalike_bus::{Degradation, LibraryStatus};
use lookalike_chassis::clock;
use tokio::sync::watch;
use tokio::time::timeout;

use super::WatcherTasks;
use crate::inbox::PublishedStatus;
use crate::metrics;

/// How long a tick may run before it is reported as stuck. A tick reads a few thousand files at
/// most.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the status of a library is published that does not change: entries of the status
/// bucket expire after 30 seconds.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// How often a change of the keeper's status is awaited before the stuck check runs.
const STATUS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two rounds of publishing.
const MIN_PUBLISH_INTERVAL: Duration = Duration::from_millis(250);

impl WatcherTasks {
    /// Publishes the libraries' status: at each change, but not more often than
    /// [`MIN_PUBLISH_INTERVAL`], and every [`STATUS_INTERVAL`].
    pub async fn publish_status(self, mut status: watch::Receiver<PublishedStatus>) {
        let mut published: HashMap<String, (LibraryStatus, Instant)> = HashMap::new();
        while !self.shutdown.is_cancelled() {
            let changed = timeout(STATUS_CHECK_INTERVAL, status.changed());
            if self.run_unless_stopping(changed).await.is_none() {
                return;
            }
            let mut statuses = status.borrow_and_update().clone();
            self.add_stuck_reason(&mut statuses);
            for library in statuses {
                if library.standby {
                    // The watcher that holds the library publishes its status.
                    published.remove(&library.name);
                    continue;
                }
                // Each library has its own time: a busy one must not let the others expire.
                let is_current = |(before, at): &(LibraryStatus, Instant)| {
                    *before == library && at.elapsed() < STATUS_INTERVAL
                };
                if published.get(&library.name).is_some_and(is_current) {
                    continue;
                }
                let publish = self.bus.publish_library_status(&library);
                match self.run_unless_stopping(publish).await {
                    None => return,
                    Some(Ok(())) => {
                        published.insert(library.name.clone(), (library, Instant::now()));
                    }
                    Some(Err(error)) => {
                        published.remove(&library.name);
                        self.repair_and_back_off(&error, &mut Self::new_backoff())
                            .await;
                    }
                }
            }
            self.sleep_unless_stopping(MIN_PUBLISH_INTERVAL).await;
        }
    }

    /// Adds the reason `stuck` while a tick runs too long. A file system that does not respond
    /// blocks the keeper's thread, which then cannot report anything itself.
    fn add_stuck_reason(&self, statuses: &mut PublishedStatus) {
        let busy_for = self.inbox.busy_for();
        let is_stuck = busy_for >= STUCK_TIMEOUT;
        for status in statuses {
            metrics::WATCH_DEGRADED
                .with_label_values(&[&*status.name, "stuck"])
                .set(is_stuck.into());
            if is_stuck {
                let since_ms = clock::now_nanos() / 1_000_000 - busy_for.as_millis() as i64;
                status.degraded.push(Degradation {
                    reason: "stuck".into(),
                    detail: "A watched file system does not respond, and all work waits for it; \
                             check whether a network mount hangs."
                        .into(),
                    since_ms,
                });
            }
        }
    }
}
