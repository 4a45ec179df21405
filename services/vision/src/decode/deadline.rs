//! Limits the CPU time of a decode.
//!
//! There are two bounds:
//!
//! - Decoders read their bytes through a [`DeadlineReader`], which fails once the decode has used
//!   `decode_timeout` of CPU time. That ends nearly every endless decode safely, because a slow file
//!   needs many bytes to keep a decoder busy. CPU time is measured, so a frozen process or a busy
//!   machine does not make a file too slow.
//! - A decoder that computes without reading cannot be stopped from outside. The caller sees its CPU
//!   time through a [`DecodeMonitor`] and abandons it, which releases the memory reserved for it.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lookalike_chassis::cpu_clock::{ThreadCpuClock, thread_cpu_time};

use crate::decode::limits::{Limits, MemoryPermit, MemoryReservation};
use crate::error::DecodeError;

/// Observes one decode from another thread.
#[derive(Debug, Clone, Default)]
pub struct DecodeMonitor {
    state: Arc<Mutex<MonitorState>>,
}

#[derive(Debug, Default)]
struct MonitorState {
    is_computing: bool,
    is_abandoned: bool,
    /// The CPU clock of the decoder's thread and its value at the start. Set only during the
    /// decode, while the thread is known to exist.
    clock: Option<(ThreadCpuClock, Duration)>,
    reservation: Weak<MemoryReservation>,
}

impl DecodeMonitor {
    fn lock(&self) -> std::sync::MutexGuard<'_, MonitorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the decoder is running and not waiting for memory.
    pub fn is_computing(&self) -> bool {
        self.lock().is_computing
    }

    /// Returns the CPU time that the decoder has used; zero before it starts and after it ends.
    pub fn cpu_time_used(&self) -> Duration {
        // The decode cannot end while the lock is held, so the thread's clock stays valid.
        let state = self.lock();
        state
            .clock
            .map_or(Duration::ZERO, |(clock, cpu_time_at_start)| {
                clock.cpu_time().saturating_sub(cpu_time_at_start)
            })
    }

    /// Abandons the decode: its memory is released now, and the decoder fails at its next read.
    pub fn abandon_decode(&self) {
        let reservation = {
            let mut state = self.lock();
            state.is_abandoned = true;
            state.reservation.upgrade()
        };
        if let Some(reservation) = reservation {
            reservation.release_once();
        }
    }

    fn is_abandoned(&self) -> bool {
        self.lock().is_abandoned
    }

    fn holds_memory(&self) -> bool {
        let reservation = self.lock().reservation.upgrade();
        reservation.is_some_and(|reservation| !reservation.is_released())
    }

    fn set_computing(&self, is_computing: bool) {
        self.lock().is_computing = is_computing;
    }

    /// Tracks the decoder's memory, and releases it immediately if the decode was abandoned.
    fn track_reservation(&self, reservation: &Arc<MemoryReservation>) {
        let mut state = self.lock();
        state.reservation = Arc::downgrade(reservation);
        if state.is_abandoned {
            reservation.release_once();
        }
    }
}

/// The CPU time limit of one decode, on the thread that decodes.
#[derive(Debug)]
pub(crate) struct CpuDeadline<'a> {
    monitor: &'a DecodeMonitor,
    limit: Duration,
    cpu_time_at_start: Duration,
    has_passed: Cell<bool>,
}

impl<'a> CpuDeadline<'a> {
    /// Starts measuring the CPU time of the calling thread.
    pub(crate) fn start(monitor: &'a DecodeMonitor, limit: Duration) -> Self {
        let cpu_time_at_start = thread_cpu_time();
        let mut state = monitor.lock();
        state.is_computing = true;
        state.clock = ThreadCpuClock::of_this_thread().map(|clock| (clock, cpu_time_at_start));
        drop(state);
        Self {
            monitor,
            limit,
            cpu_time_at_start,
            has_passed: Cell::new(false),
        }
    }

    /// Returns whether a reader was refused more bytes.
    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.get()
    }

    /// Reserves `bytes` of the memory budget and blocks until they are available. They are released
    /// when the permit is dropped or the decode is abandoned.
    pub(crate) fn reserve_memory(
        &self,
        limits: &Limits,
        bytes: u64,
    ) -> Result<MemoryPermit, DecodeError> {
        debug_assert!(
            !self.monitor.holds_memory(),
            "a decode that waits for memory must not hold any, or all decodes can wait for ever"
        );
        let permit = self.pause_while(|| limits.reserve_memory(bytes))?;
        self.monitor.track_reservation(permit.reservation());
        Ok(permit)
    }

    /// Runs `wait` and reports the decoder as not computing meanwhile.
    fn pause_while<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.monitor.set_computing(false);
        let value = wait();
        self.monitor.set_computing(true);
        value
    }

    /// Fails once the decode has used its CPU time or was abandoned.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        self.check_time()
            .map_err(|_| DecodeError::TooSlow { max: self.limit })
    }

    /// Does the same as [`check`](Self::check), for readers.
    pub(crate) fn check_time(&self) -> io::Result<()> {
        let is_over = self.has_passed.get()
            || self.monitor.is_abandoned()
            || thread_cpu_time().saturating_sub(self.cpu_time_at_start) >= self.limit;
        if !is_over {
            return Ok(());
        }
        self.has_passed.set(true);
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the time for decoding is over",
        ))
    }
}

impl Drop for CpuDeadline<'_> {
    fn drop(&mut self) {
        let mut state = self.monitor.lock();
        state.is_computing = false;
        state.clock = None;
    }
}

/// Bytes that may be read between two checks of the clock.
const CHECK_INTERVAL_BYTES: usize = 128 << 10;
/// Bytes that each call counts in addition, because decoders that read byte by byte compute between
/// the calls.
const CALL_COST_BYTES: usize = 64;

/// Reads a file's bytes until the deadline has passed.
#[derive(Debug)]
pub(crate) struct DeadlineReader<'a> {
    bytes: Cursor<&'a [u8]>,
    /// Bytes that follow. A source that has some is never sought in.
    tail: &'a [u8],
    deadline: &'a CpuDeadline<'a>,
    bytes_until_check: usize,
}

impl<'a> DeadlineReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], deadline: &'a CpuDeadline<'a>) -> Self {
        Self::with_tail(bytes, &[], deadline)
    }

    /// Creates a reader of `bytes` and then of `tail`, for sequential reading.
    pub(crate) fn with_tail(
        bytes: &'a [u8],
        tail: &'a [u8],
        deadline: &'a CpuDeadline<'a>,
    ) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            tail,
            deadline,
            // The first read checks the clock: another decoder may have used up the time.
            bytes_until_check: 0,
        }
    }

    #[inline]
    fn charge_bytes(&mut self, bytes: usize) -> io::Result<()> {
        match self.bytes_until_check.checked_sub(bytes + CALL_COST_BYTES) {
            Some(remaining) => {
                self.bytes_until_check = remaining;
                Ok(())
            }
            None => self.check_deadline(),
        }
    }

    /// Moves to the tail after the last byte before it.
    #[inline]
    fn turn_to_tail(&mut self) {
        if !self.tail.is_empty() && self.bytes.position() >= self.bytes.get_ref().len() as u64 {
            self.bytes = Cursor::new(std::mem::take(&mut self.tail));
        }
    }

    /// Reads across the border between the bytes and the tail.
    #[cold]
    fn read_exact_across(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let length = self.bytes.read(buffer)?;
        self.turn_to_tail();
        self.bytes.read_exact(&mut buffer[length..])
    }

    #[cold]
    fn check_deadline(&mut self) -> io::Result<()> {
        self.bytes_until_check = CHECK_INTERVAL_BYTES;
        self.deadline.check_time()
    }
}

impl Read for DeadlineReader<'_> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.charge_bytes(buffer.len().min(CHECK_INTERVAL_BYTES))?;
        self.turn_to_tail();
        self.bytes.read(buffer)
    }

    #[inline]
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.charge_bytes(buffer.len().min(CHECK_INTERVAL_BYTES))?;
        let position = self.bytes.position();
        match self.bytes.read_exact(buffer) {
            Err(_) if !self.tail.is_empty() => {
                // The failed attempt has moved to the end.
                self.bytes.set_position(position);
                self.read_exact_across(buffer)
            }
            result => result,
        }
    }
}

impl BufRead for DeadlineReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.charge_bytes(0)?;
        self.turn_to_tail();
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(CHECK_INTERVAL_BYTES / 2)])
    }

    fn consume(&mut self, count: usize) {
        self.bytes_until_check = self.bytes_until_check.saturating_sub(count);
        self.bytes.consume(count);
    }
}

impl Seek for DeadlineReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.charge_bytes(0)?;
        self.bytes.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_when_the_processor_time_is_used_up() {
        let monitor = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&monitor, Duration::from_millis(20));
        assert!(monitor.is_computing());
        let bytes = vec![7; 64 << 20];
        let mut source = DeadlineReader::new(&bytes, &deadline);
        let mut rounds = 0_u64;
        let error = loop {
            // Reads byte by byte and starts over, so that only the deadline ends the loop.
            let mut byte = [0];
            if let Err(error) = source.read_exact(&mut byte) {
                break error;
            }
            rounds += 1;
            if rounds.is_multiple_of(1 << 20) {
                source.seek(SeekFrom::Start(0)).ok();
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(deadline.has_passed());
        let again = DeadlineReader::new(&bytes, &deadline).read(&mut [0; 4]);
        assert!(again.is_err(), "another decoder gets nothing either");
        drop(deadline);
        assert!(!monitor.is_computing());
    }

    #[test]
    fn another_thread_sees_what_is_used_and_not_what_passes() {
        let monitor = DecodeMonitor::default();
        assert_eq!(monitor.cpu_time_used(), Duration::ZERO);
        let own = monitor.clone();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let decoder = std::thread::spawn(move || {
            let deadline = CpuDeadline::start(&own, Duration::from_millis(100));
            begun.send(()).unwrap();
            // The decode is running but uses no CPU time.
            may_go_on.recv().unwrap();
            while deadline.check_time().is_ok() {}
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        has_begun.recv().unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(monitor.is_computing());
        assert!(monitor.cpu_time_used() < Duration::from_millis(50));
        go_on.send(()).unwrap();
        has_begun.recv().unwrap();
        assert!(monitor.cpu_time_used() >= Duration::from_millis(100));
        go_on.send(()).unwrap();
        decoder.join().unwrap();
        assert_eq!(
            monitor.cpu_time_used(),
            Duration::ZERO,
            "its thread is gone"
        );
    }

    #[test]
    fn waiting_uses_no_time_and_giving_up_ends_the_reading() {
        let monitor = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&monitor, Duration::from_millis(500));
        deadline.pause_while(|| {
            assert!(!monitor.is_computing());
            std::thread::sleep(Duration::from_millis(600));
        });
        let mut all = Vec::new();
        let mut source = DeadlineReader::new(&[1, 2, 3], &deadline);
        assert_eq!(source.read_to_end(&mut all).unwrap(), 3);
        monitor.abandon_decode();
        assert!(DeadlineReader::new(&[1], &deadline).fill_buf().is_err());
    }

    #[test]
    fn an_abandoned_decode_blocks_no_other() {
        let mut limits = Limits::default();
        limits.max_decode_bytes = 100;
        let monitor = DecodeMonitor::default();
        let deadline = CpuDeadline::start(&monitor, Duration::MAX);
        let stuck = deadline.reserve_memory(&limits, 80).unwrap();
        monitor.abandon_decode();
        // Would block for ever if the memory were still reserved.
        let next = limits.reserve_memory(100).unwrap();
        drop(stuck);
        assert_eq!(limits.reserved_bytes(), 100, "released once");
        drop(next);
        let late = deadline.reserve_memory(&limits, 80).unwrap();
        assert_eq!(limits.reserved_bytes(), 0);
        drop(late);
        assert_eq!(limits.reserved_bytes(), 0);
    }
}
