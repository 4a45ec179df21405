//! Limits that are checked before a decoder allocates anything.
//!
//! Two bounds hold: one picture's own (bytes, pixels, side, memory), and the memory that all
//! decoders of the process hold together. The second makes threads wait in line, first come first
//! served, so that a pool of threads fed with the largest allowed pictures stays within one
//! `max_decode_bytes`. What a decoder returns belongs to its caller and is counted no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::{Settings, decode::deadline::CpuDeadline, error::DecodeError};

/// Bounds of decoding, made from [`Settings`]. Clones share the memory budget.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest file, in bytes.
    pub max_file_bytes: u64,
    /// The most pixels.
    pub max_pixels: u64,
    /// The longest side, in pixels.
    pub max_side: u32,
    /// The most memory of all decodes together, in bytes.
    pub max_decode_bytes: u64,
    /// How much time of a processor one decode may take.
    pub decode_timeout: Duration,
    budget: Arc<MemoryBudget>,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            max_file_bytes: settings.max_file_bytes,
            max_pixels: settings.max_pixels,
            max_side: settings.max_side,
            max_decode_bytes: settings.max_decode_bytes,
            decode_timeout: settings.decode_timeout,
            budget: Arc::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

impl Limits {
    /// Refuses a file by its length, in bytes. Useful before a file is even read.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], [`DecodeError::TooLarge`].
    pub fn check_file_bytes(&self, bytes: u64) -> Result<(), DecodeError> {
        match bytes {
            0 => Err(DecodeError::Empty),
            bytes if bytes > self.max_file_bytes => Err(DecodeError::TooLarge {
                bytes,
                max_bytes: self.max_file_bytes,
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a picture by what its header claims, in pixels.
    pub(crate) fn check_pixels(
        &self,
        format: &'static str,
        width: u32,
        height: u32,
    ) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::Corrupt {
                format,
                reason: format!("it claims to be {width} x {height} pixels"),
            });
        }
        if width.max(height) > self.max_side
            || u64::from(width) * u64::from(height) > self.max_pixels
        {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                max_pixels: self.max_pixels,
                max_side: self.max_side,
            });
        }
        Ok(())
    }

    /// Takes `bytes` of the shared budget, waiting until they are free; they return when the
    /// [`MemoryPermit`] is dropped, or when the decode is given up. The wait is not on the decode's time.
    pub(crate) fn reserve_within_deadline(
        &self,
        bytes: u64,
        deadline: &CpuDeadline<'_>,
    ) -> Result<MemoryPermit, DecodeError> {
        let permit = deadline.pause_while(|| self.reserve_memory(bytes))?;
        deadline.monitor().track_reservation(&permit.reservation);
        Ok(permit)
    }

    fn reserve_memory(&self, bytes: u64) -> Result<MemoryPermit, DecodeError> {
        if bytes > self.max_decode_bytes {
            return Err(DecodeError::TooMuchMemory {
                max_bytes: self.max_decode_bytes,
            });
        }
        self.budget.reserve_bytes(bytes, self.max_decode_bytes);
        Ok(MemoryPermit {
            reservation: Arc::new(MemoryReservation {
                bytes: AtomicU64::new(bytes),
                budget: Arc::clone(&self.budget),
            }),
        })
    }
}

#[derive(Debug, Default)]
struct MemoryBudget {
    state: Mutex<MemoryBudgetState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MemoryBudgetState {
    reserved_bytes: u64,
    next_ticket: u64,
    serving_ticket: u64,
}

impl MemoryBudget {
    fn reserve_bytes(&self, bytes: u64, max_bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        // In line, so that a large picture is not starved by a stream of small ones.
        while state.serving_ticket != ticket || state.reserved_bytes + bytes > max_bytes {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.reserved_bytes += bytes;
        state.serving_ticket += 1;
        self.changed.notify_all();
    }

    fn release_bytes(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.reserved_bytes -= bytes;
        self.changed.notify_all();
    }
}

/// A share of the memory budget.
#[derive(Debug)]
pub(crate) struct MemoryReservation {
    bytes: AtomicU64,
    budget: Arc<MemoryBudget>,
}

impl MemoryReservation {
    /// Gives it back, once.
    pub(crate) fn release_once(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.budget.release_bytes(bytes);
        }
    }
}

/// A decoder's hold of its share.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    reservation: Arc<MemoryReservation>,
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.reservation.release_once();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::deadline::DecodeMonitor;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn decoders_together_stay_within_the_budget() {
        let limits = Limits {
            max_decode_bytes: 100,
            ..Limits::default()
        };
        let (held, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (limits, held, peak) = (limits.clone(), &held, &peak);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = 1 + (thread * 31 + round * 17) % 100;
                        let share = limits.reserve_memory(bytes).unwrap();
                        peak.fetch_max(held.fetch_add(bytes, SeqCst) + bytes, SeqCst);
                        held.fetch_sub(bytes, SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert!(peak.load(SeqCst) <= 100);
        assert_eq!(
            limits.reserve_memory(101).unwrap_err().code(),
            "too_much_memory",
            "what never fits is refused instead of waiting for ever"
        );
    }

    #[test]
    fn who_was_given_up_holds_up_nobody() {
        let limits = Limits {
            max_decode_bytes: 100,
            ..Limits::default()
        };
        let monitor = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&monitor, Duration::MAX);
        let stuck = limits.reserve_within_deadline(80, &deadline).unwrap();
        monitor.abandon_decode();
        // Would wait for ever.
        let next = limits.reserve_memory(100).unwrap();
        drop(stuck);
        assert_eq!(
            limits.budget.state.lock().unwrap().reserved_bytes,
            100,
            "given back once"
        );
        drop(next);
        let late = limits.reserve_within_deadline(80, &deadline).unwrap();
        assert_eq!(limits.budget.state.lock().unwrap().reserved_bytes, 0);
        drop(late);
        assert_eq!(limits.budget.state.lock().unwrap().reserved_bytes, 0);
    }
}
