//! How long a decoder may compute.
//!
//! Two bounds hold. Decoders read their bytes through a [`Source`] that fails once the decode has
//! used the processor for `decode_timeout`: that ends nearly every endless decode without harm,
//! because whoever makes a file slow has to feed the decoder. Processor time counts, so a process
//! that was frozen, or a machine that is busy, makes no file slow. A decoder that computes
//! without reading can't be ended from outside; a caller who sees through a [`Watch`] what it has
//! used gives it up, and the memory that it was counted for is free for others.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::limits::Share;

/// One decode, seen from another thread.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_computing: bool,
    is_given_up: bool,
    /// Of the decoder's thread, and what it showed at the beginning; only while the decode lasts,
    /// so that the thread is there.
    clock: Option<(libc::clockid_t, Duration)>,
    share: Weak<Share>,
}

impl Watch {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the decoder is at work: it has begun, has not ended, and does not wait for memory.
    pub fn is_computing(&self) -> bool {
        self.lock().is_computing
    }

    /// How much of a processor the decoder has used; nothing before it begins and after it ends.
    pub fn used(&self) -> Duration {
        // The decode can't end while this is held.
        let state = self.lock();
        state.clock.map_or(Duration::ZERO, |(clock, begun)| {
            processor_time(clock).saturating_sub(begun)
        })
    }

    /// Nobody waits for the result any more: the decoder ends at its next read, and its share of
    /// the memory is free for others from now on.
    pub fn give_up(&self) {
        let share = {
            let mut state = self.lock();
            state.is_given_up = true;
            state.share.upgrade()
        };
        if let Some(share) = share {
            share.give_back();
        }
    }

    fn is_given_up(&self) -> bool {
        self.lock().is_given_up
    }

    fn set_computing(&self, is_computing: bool) {
        self.lock().is_computing = is_computing;
    }

    /// Keeps hold of the memory that the decoder takes; given back at once where nobody waits
    /// any more.
    pub(crate) fn note_share(&self, share: &Arc<Share>) {
        let mut state = self.lock();
        state.share = Arc::downgrade(share);
        if state.is_given_up {
            share.give_back();
        }
    }
}

/// The time of one decode, on the thread that decodes.
#[derive(Debug)]
pub(crate) struct Deadline<'a> {
    watch: &'a Watch,
    limit: Duration,
    begun: Duration,
    has_passed: Cell<bool>,
}

impl<'a> Deadline<'a> {
    /// Begins now, on this thread.
    pub(crate) fn begin(watch: &'a Watch, limit: Duration) -> Self {
        let begun = processor_time(libc::CLOCK_THREAD_CPUTIME_ID);
        let mut state = watch.lock();
        state.is_computing = true;
        state.clock = own_clock().map(|clock| (clock, begun));
        drop(state);
        Self {
            watch,
            limit,
            begun,
            has_passed: Cell::new(false),
        }
    }

    /// Whether some reader was refused.
    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.get()
    }

    pub(crate) fn watch(&self) -> &Watch {
        self.watch
    }

    /// Runs what waits for others and computes nothing.
    pub(crate) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.watch.set_computing(false);
        let value = wait();
        self.watch.set_computing(true);
        value
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        let is_over = self.has_passed.get()
            || self.watch.is_given_up()
            || processor_time(libc::CLOCK_THREAD_CPUTIME_ID).saturating_sub(self.begun)
                >= self.limit;
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

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        let mut state = self.watch.lock();
        state.is_computing = false;
        state.clock = None;
    }
}

/// The clock of what this thread uses of the processor, for other threads.
fn own_clock() -> Option<libc::clockid_t> {
    let mut clock = MaybeUninit::uninit();
    // SAFETY: the thread is the caller itself, and the pointer is to room for a clock's id.
    let answer = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), clock.as_mut_ptr()) };
    // SAFETY: the id was written where the call went well.
    (answer == 0).then(|| unsafe { clock.assume_init() })
}

/// What the thread of this clock has used of the processor.
fn processor_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a whole `timespec` that lives through the call.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(answer, 0, "every thread that is there has this clock");
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Bytes that may be read before the clock is looked at again. Each call counts as some bytes
/// more, because decoders that read byte by byte compute between them.
const CREDIT: usize = 128 << 10;
const CREDIT_OF_A_CALL: usize = 64;

/// A file's bytes, until its time is over.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    bytes: Cursor<&'a [u8]>,
    deadline: &'a Deadline<'a>,
    credit: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8], deadline: &'a Deadline<'a>) -> Self {
        Self {
            bytes: Cursor::new(bytes),
            deadline,
            // The first read looks at the clock: another decoder may have used the time up.
            credit: 0,
        }
    }

    #[inline]
    fn spend(&mut self, bytes: usize) -> io::Result<()> {
        match self.credit.checked_sub(bytes + CREDIT_OF_A_CALL) {
            Some(credit) => {
                self.credit = credit;
                Ok(())
            }
            None => self.renew(),
        }
    }

    #[cold]
    fn renew(&mut self) -> io::Result<()> {
        self.credit = CREDIT;
        self.deadline.check()
    }
}

impl Read for Source<'_> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.spend(buffer.len().min(CREDIT))?;
        self.bytes.read(buffer)
    }

    #[inline]
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.spend(buffer.len().min(CREDIT))?;
        self.bytes.read_exact(buffer)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.spend(0)?;
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(CREDIT / 2)])
    }

    fn consume(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(count);
        self.bytes.consume(count);
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.spend(0)?;
        self.bytes.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_when_the_processor_time_is_used_up() {
        let watch = Watch::default();
        let deadline = Deadline::begin(&watch, Duration::from_millis(20));
        assert!(watch.is_computing());
        let bytes = vec![7; 64 << 20];
        let mut source = Source::new(&bytes, &deadline);
        let mut rounds = 0_u64;
        let error = loop {
            // Byte by byte, from the beginning again and again: never at an end by itself.
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
        let again = Source::new(&bytes, &deadline).read(&mut [0; 4]);
        assert!(again.is_err(), "another decoder gets nothing either");
        drop(deadline);
        assert!(!watch.is_computing());
    }

    #[test]
    fn another_thread_sees_what_is_used_and_not_what_passes() {
        let watch = Watch::default();
        assert_eq!(watch.used(), Duration::ZERO);
        let own = watch.clone();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let decoder = std::thread::spawn(move || {
            let deadline = Deadline::begin(&own, Duration::from_millis(100));
            begun.send(()).unwrap();
            // It is at work, and gets nothing of the processor.
            may_go_on.recv().unwrap();
            while deadline.check().is_ok() {}
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        has_begun.recv().unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(watch.is_computing());
        assert!(watch.used() < Duration::from_millis(50));
        go_on.send(()).unwrap();
        has_begun.recv().unwrap();
        assert!(watch.used() >= Duration::from_millis(100));
        go_on.send(()).unwrap();
        decoder.join().unwrap();
        assert_eq!(watch.used(), Duration::ZERO, "its thread is gone");
    }

    #[test]
    fn waiting_uses_no_time_and_giving_up_ends_the_reading() {
        let watch = Watch::default();
        let deadline = Deadline::begin(&watch, Duration::from_millis(500));
        deadline.waiting(|| {
            assert!(!watch.is_computing());
            std::thread::sleep(Duration::from_millis(600));
        });
        let mut all = Vec::new();
        let mut source = Source::new(&[1, 2, 3], &deadline);
        assert_eq!(source.read_to_end(&mut all).unwrap(), 3);
        watch.give_up();
        assert!(Source::new(&[1], &deadline).fill_buf().is_err());
    }
}
