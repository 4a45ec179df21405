//! The memory that all uploads together may use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Code, Problem};

pub(crate) struct UploadBudget {
    permits: Arc<Semaphore>,
}

/// The unit of [`UploadBudget`]: semaphores count in 32 bits.
const BUDGET_UNIT_BYTES: u64 = 4096;

impl UploadBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(usize::MAX);
        Self {
            permits: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    pub(crate) fn empty_permit(&self) -> UploadPermit {
        UploadPermit {
            permits: Arc::clone(&self.permits),
            permit: None,
            units: 0,
        }
    }
}

/// The share of the budget that one upload uses, until it is dropped.
pub(crate) struct UploadPermit {
    permits: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    units: u64,
}

impl UploadPermit {
    /// Does not wait: with many partial uploads in memory, none could ever complete.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<(), Problem> {
        let more = bytes.div_ceil(BUDGET_UNIT_BYTES).saturating_sub(self.units);
        if more == 0 {
            return Ok(());
        }
        let overloaded = || {
            Problem::new(
                Code::Overloaded,
                "other uploads use all the memory for uploads (http.max_buffered_bytes)",
            )
        };
        let count = u32::try_from(more).map_err(|_| overloaded())?;
        let added = Arc::clone(&self.permits)
            .try_acquire_many_owned(count)
            .map_err(|_| overloaded())?;
        match &mut self.permit {
            Some(permit) => permit.merge(added),
            None => self.permit = Some(added),
        }
        self.units += more;
        Ok(())
    }
}
