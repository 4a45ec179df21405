//! How long a decoder is waited for, on its thread.

use std::sync::Arc;
use std::time::Duration;

use lookalike_vision::{DecodeError, DecodeMonitor, DecodedAttributes, Engine, Input, Limits};

use crate::embed::leaked_threads::LeakedThreads;

/// A decoder that is at work and uses no processor at all may be so for as many times the limit.
const MAX_ASLEEP_FACTOR: u32 = 10;

/// From a file's bytes to what the engine's network takes: for a thread of its own.
pub fn decoder_for(
    bytes: Vec<u8>,
    engine: &Engine,
    limits: &Limits,
) -> impl FnOnce(&DecodeMonitor) -> Result<(Input, DecodedAttributes), DecodeError> + Send + use<> {
    let (description, limits) = (engine.description().clone(), limits.clone());
    move |watch| {
        let wanted = description.min_short_side();
        let decoded = lookalike_vision::decode_monitored(&bytes, wanted, &limits, watch);
        let (picture, attributes) = decoded?;
        drop(bytes);
        Ok((
            lookalike_vision::preprocess_image(&description, &picture),
            attributes,
        ))
    }
}

/// Decodes on a thread of its own. Decoders end by themselves when their time of a processor is
/// over; one that does not is given up after twice as much, and its thread becomes a stray. A
/// machine that is busy, or a process that was frozen, makes no file slow.
pub async fn run_decoder<T: Send + 'static>(
    decode: impl FnOnce(&DecodeMonitor) -> Result<T, DecodeError> + Send + 'static,
    timeout: Duration,
    leaked_threads: &Arc<LeakedThreads>,
) -> Result<T, DecodeError> {
    let watch = DecodeMonitor::default();
    let own = watch.clone();
    let mut thread = tokio::task::spawn_blocking(move || decode(&own));
    let step = (timeout / 8).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let mut decode_timeout = DecodeTimeout::new(timeout);
    loop {
        match tokio::time::timeout(step, &mut thread).await {
            Ok(Ok(decoded)) => return decoded,
            // A panic of ours goes on to the caller.
            Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Err(_) if decode_timeout.is_over(step, watch.is_computing(), watch.cpu_time_used()) => {
                break;
            }
            Err(_) => {}
        }
    }
    watch.abandon_decode();
    leaked_threads.track_thread(thread);
    tracing::error!("a decoder does not end; its file is listed, and its thread left behind");
    Err(DecodeError::TooSlow { max: timeout })
}

/// What one decoder has had so far.
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

    /// Whether a decoder is to be given up that by now has used so much of a processor, after
    /// another step of waiting for it. Who waits for memory is not at work.
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

    /// A progressive gray JPEG of so many empty scans, each of which passes over the picture.
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
    async fn a_decoder_that_does_not_end_is_given_up() {
        let strays = LeakedThreads::new(0);
        // It would take an hour, and its own limit does not end it.
        let mut limits = Limits::default();
        limits.decode_timeout = Duration::MAX;
        let file = jpeg_of_scans(1_000_000);
        let endless = move |watch: &DecodeMonitor| {
            lookalike_vision::decode_monitored(&file, 146, &limits, watch)
        };
        let decoded = run_decoder(endless, Duration::from_millis(40), &strays).await;
        assert_eq!(decoded.unwrap_err().code(), "too_slow");
        // Its thread notices at its next read that nobody waits for it.
        strays.wait_until_over_limit(false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_for_memory_is_not_slow() {
        let strays = LeakedThreads::new(0);
        let waits = |_: &DecodeMonitor| {
            std::thread::sleep(Duration::from_millis(200));
            Ok(7)
        };
        let decoded = run_decoder(waits, Duration::from_millis(5), &strays).await;
        assert_eq!(decoded, Ok(7));
        assert_eq!(strays.count_over_limit(), None);
    }

    /// After how many steps of a second a decoder with 30 seconds is given up, of 1,000, that
    /// uses so many milliseconds of each.
    fn given_up_after(is_at_work: bool, used_ms: u64) -> Option<u64> {
        let mut timeout = DecodeTimeout::new(Duration::from_secs(30));
        (1..=1_000).find(|step| {
            let used = Duration::from_millis(step * used_ms);
            timeout.is_over(Duration::from_secs(1), is_at_work, used)
        })
    }

    #[test]
    fn a_busy_machine_makes_no_file_slow() {
        assert_eq!(given_up_after(true, 1_000), Some(60));
        assert_eq!(given_up_after(true, 100), Some(600));
        assert_eq!(given_up_after(true, 10), None);
        // It is at work and does nothing.
        assert_eq!(given_up_after(true, 0), Some(300));
        assert_eq!(given_up_after(false, 0), None);
    }
}
