//! Limits the bytes of files that are in memory at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Permits for memory, in mebibytes. A file larger than the limit takes all permits and is read
/// alone.
pub struct MemoryPermits {
    permits: Semaphore,
    max_mebibytes: u32,
}

impl MemoryPermits {
    pub fn new(max_bytes: u64) -> Self {
        let max_mebibytes = u32::try_from((max_bytes >> 20).max(1))
            .unwrap_or(u32::MAX)
            .min(u32::try_from(Semaphore::MAX_PERMITS >> 3).unwrap_or(u32::MAX));
        Self {
            permits: Semaphore::new(max_mebibytes as usize),
            max_mebibytes,
        }
    }

    /// Waits until so many bytes may be read.
    pub async fn acquire_bytes(&self, bytes: u64) -> SemaphorePermit<'_> {
        let mebibytes = u32::try_from(bytes >> 20)
            .unwrap_or(u32::MAX)
            .saturating_add(1)
            .min(self.max_mebibytes);
        self.permits
            .acquire_many(mebibytes)
            .await
            .expect("this semaphore is never closed")
    }
}
