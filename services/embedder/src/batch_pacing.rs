//! Decides how long a batch of requests to Milvus collects its items.
//!
//! A request costs Milvus several milliseconds of CPU time, however few rows it names. So while much
//! arrives, requests are rarer. The first item after a pause never waits.

use std::time::Duration;

use tokio::time::Instant;

/// A batch of so many items is sent at once.
const FULL_BATCH: usize = 64;

/// A batch of so many items shows that more arrive soon.
const BUSY_BATCH: usize = 8;

/// Time between two batches while little arrives.
const QUIET_INTERVAL: Duration = Duration::from_millis(30);

/// Time between two batches while much arrives: short compared with the seconds that a full queue takes.
const BUSY_INTERVAL: Duration = Duration::from_millis(100);

/// The time and size of the last batch.
#[derive(Debug, Default)]
pub struct BatchPacing {
    last: Option<(Instant, usize)>,
}

impl BatchPacing {
    /// Returns until when a batch of so many items collects more; `None` if it is to be sent now.
    pub fn collects_until(&self, items: usize, now: Instant) -> Option<Instant> {
        let (at, last_items) = self.last?;
        let interval = match last_items >= BUSY_BATCH {
            true => BUSY_INTERVAL,
            false => QUIET_INTERVAL,
        };
        (items < FULL_BATCH && now < at + interval).then_some(at + interval)
    }

    /// Records that a batch was answered.
    pub fn record_batch(&mut self, items: usize, now: Instant) {
        self.last = Some((now, items));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_rarer_while_much_arrives() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacing = BatchPacing::default();
        assert_eq!(
            pacing.collects_until(1, at(0)),
            None,
            "nothing was sent yet"
        );
        pacing.record_batch(1, at(0));
        assert_eq!(pacing.collects_until(1, at(10)), Some(at(30)));
        assert_eq!(pacing.collects_until(1, at(30)), None, "after a pause");
        pacing.record_batch(BUSY_BATCH, at(30));
        assert_eq!(pacing.collects_until(63, at(100)), Some(at(130)));
        assert_eq!(pacing.collects_until(64, at(31)), None, "full");
        assert_eq!(pacing.collects_until(1, at(130)), None);
    }
}
