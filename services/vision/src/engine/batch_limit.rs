//! Limits the images of one run of a device, as its failures and successes show.

/// Full batches that must succeed before the limit grows again.
const MIN_SUCCESSES: u32 = 16;

/// The most successes that are ever required, however often the device failed.
const MAX_SUCCESSES: u32 = 4096;

/// Shrinks when a batch was too large for the device (out of memory), and doubles again after a
/// number of full batches. That number doubles with each failure, so a device that cannot take larger
/// batches is rarely asked to.
#[derive(Debug, Clone)]
pub(super) struct BatchLimit {
    max: usize,
    limit: usize,
    successes: u32,
    successes_to_grow: u32,
}

impl BatchLimit {
    /// Starts at the most that the device is expected to take.
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            limit: max,
            successes: 0,
            successes_to_grow: MIN_SUCCESSES,
        }
    }

    pub(super) fn images(&self) -> usize {
        self.limit
    }

    /// Changes the upper bound, when the device was opened again.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
        self.limit = self.limit.min(self.max);
    }

    pub(super) fn record_success(&mut self, images: usize) {
        if self.limit == self.max || images < self.limit {
            return;
        }
        self.successes += 1;
        if self.successes >= self.successes_to_grow {
            self.successes = 0;
            self.limit = (self.limit * 2).min(self.max);
        }
    }

    /// Records that a batch failed because of its size, and how many images of it worked at once.
    pub(super) fn record_too_large(&mut self, worked: usize) {
        self.limit = self.limit.min(worked.max(1));
        self.successes = 0;
        self.successes_to_grow = (self.successes_to_grow * 2).min(MAX_SUCCESSES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_on_failure_and_grows_again() {
        let mut limit = BatchLimit::new(32);
        limit.record_too_large(16);
        assert_eq!(limit.images(), 16);
        limit.record_too_large(8);
        assert_eq!(limit.images(), 8);
        // Smaller batches prove nothing about full ones.
        for _ in 0..1_000 {
            limit.record_success(7);
        }
        assert_eq!(limit.images(), 8);
        for _ in 0..4 * MIN_SUCCESSES {
            assert_eq!(limit.images(), 8);
            limit.record_success(8);
        }
        assert_eq!(limit.images(), 16);
        for _ in 0..1_000 {
            limit.record_success(limit.images());
        }
        assert_eq!(limit.images(), 32, "never above the maximum");
        limit.record_too_large(0);
        assert_eq!(limit.images(), 1, "never below 1");
        limit.set_max(0);
        assert_eq!(limit.images(), 1);
    }
}
