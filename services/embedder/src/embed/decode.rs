//! Decodes images on threads of their own, and abandons decoders that do not end.

use std::sync::Arc;
use std::time::Duration;

use lookalike_chassis::background;
use lookalike_vision::{DecodeError, DecodeMonitor, DecodedAttributes, Engine, Input, Limits};

use crate::embed::leaked_threads::LeakedThreads;

/// A decoder that works without using CPU time is abandoned after so many times the timeout.
const MAX_ASLEEP_FACTOR: u32 = 10;

/// Returns a function that decodes a file's bytes into the network's input, for a thread of its own.
pub fn decoder_for(
    bytes: Vec<u8>,
    engine: &Engine,
    limits: &Limits,
) -> impl FnOnce(&DecodeMonitor) -> Result<(Input, DecodedAttributes), DecodeError> + Send + use<> {
    let (description, limits) = (engine.description().clone(), limits.clone());
    move |monitor| {
        let min_short_side = description.min_short_side();
        let decoded = lookalike_vision::decode_monitored(&bytes, min_short_side, &limits, monitor);
        let (image, attributes) = decoded?;
        drop(bytes);
        Ok((
            lookalike_vision::preprocess_image(&description, &image),
            attributes,
        ))
    }
}

/// Runs a decoder on a background thread of its own. Decoders end by themselves when they have used `timeout`
/// of CPU time. A decoder that has used twice as much is abandoned, and its thread counts as leaked.
/// Only CPU time counts, so a busy machine or a frozen process makes no file too slow.
pub async fn run_decoder<T: Send + 'static>(
    decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    timeout: Duration,
    leaked_threads: &Arc<LeakedThreads>,
) -> Result<T, DecodeError> {
    let monitor = DecodeMonitor::default();
    let thread_monitor = monitor.clone();
    let mut thread = background::spawn_blocking(move || decode(&thread_monitor));
    let step = (timeout / 8).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let mut decode_timeout = DecodeTimeout::new(timeout);
    loop {
        match tokio::time::timeout(step, &mut thread).await {
            Ok(Ok(decoded)) => return decoded,
            // Panics are propagated to the caller.
            Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Err(_)
                if decode_timeout.is_over(
                    step,
                    monitor.is_computing(),
                    monitor.cpu_time_used(),
                ) =>
            {
                break;
            }
            Err(_) => {}
        }
    }
    monitor.abandon_decode();
    leaked_threads.track_thread(thread);
    tracing::error!(
        "a decoder does not end: its file is listed as failed, and its thread is abandoned"
    );
    Err(DecodeError::TooSlow { max: timeout })
}

/// The time that one decoder has used so far.
struct DecodeTimeout {
    limit: Duration,
    used: Duration,
    asleep: Duration,
}

impl DecodeTimeout {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            used: Duration::ZERO,
            asleep: Duration::ZERO,
        }
    }

    /// Records another `step` of waiting for a decoder that has `used` so much CPU time in all, and
    /// returns whether to abandon it. A decoder that waits for memory is not at work.
    fn is_over(&mut self, step: Duration, is_at_work: bool, used: Duration) -> bool {
        if is_at_work && used <= self.used {
            self.asleep += step;
        }
        self.used = self.used.max(used);
        self.used >= self.limit.saturating_mul(2)
            || self.asleep >= self.limit.saturating_mul(MAX_ASLEEP_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookalike_vision::Limits;

    /// Builds a progressive grey JPEG with so many empty scans; each makes the decoder visit the
    /// whole image.
    fn jpeg_of_scans(scans: usize) -> Vec<u8> {
        let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
        file.extend([1; 64]);
        file.extend([0xff, 0xc2, 0, 11, 8, 0x10, 0, 0x10, 0, 1, 1, 0x11, 0]);
        file.extend([0xff, 0xc4, 0, 20, 0, 1]);
        file.extend([0; 16]);
        for _ in 0..scans {
            file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0]);
        }
        file.extend([0xff, 0xd9]);
        file
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_decoder_that_does_not_end_is_abandoned() {
        let leaked_threads = LeakedThreads::new(0);
        // Decoding would take an hour, and the own limit of the decoder does not end it.
        let mut limits = Limits::default();
        limits.decode_timeout = Duration::MAX;
        let file = jpeg_of_scans(1_000_000);
        let endless = move |monitor: &DecodeMonitor| {
            lookalike_vision::decode_monitored(&file, 146, &limits, monitor)
        };
        let decoded = run_decoder(endless, Duration::from_millis(40), &leaked_threads).await;
        assert_eq!(decoded.unwrap_err().code(), "too_slow");
        // The thread ends at its next read, when it notices that it was abandoned.
        leaked_threads.wait_until_over_limit(false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_decoder_that_waits_for_memory_is_not_slow() {
        let leaked_threads = LeakedThreads::new(0);
        let waits = |_: &DecodeMonitor| {
            std::thread::sleep(Duration::from_millis(200));
            Ok(7)
        };
        let decoded = run_decoder(waits, Duration::from_millis(5), &leaked_threads).await;
        assert_eq!(decoded, Ok(7));
        assert_eq!(leaked_threads.count_over_limit(), None);
    }

    /// Returns after how many steps of one second a decoder with a timeout of 30 seconds is
    /// abandoned that uses so many milliseconds of CPU time in each, or `None` after 1,000 steps.
    fn abandoned_after(is_at_work: bool, used_ms: u64) -> Option<u64> {
        let mut timeout = DecodeTimeout::new(Duration::from_secs(30));
        (1..=1_000).find(|step| {
            let used = Duration::from_millis(step * used_ms);
            timeout.is_over(Duration::from_secs(1), is_at_work, used)
        })
    }

    #[test]
    fn a_busy_machine_makes_no_file_slow() {
        assert_eq!(abandoned_after(true, 1_000), Some(60));
        assert_eq!(abandoned_after(true, 100), Some(600));
        assert_eq!(abandoned_after(true, 10), None);
        // At work without using CPU time.
        assert_eq!(abandoned_after(true, 0), Some(300));
        assert_eq!(abandoned_after(false, 0), None);
    }
}
