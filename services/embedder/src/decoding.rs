//! How long a decoder is waited for, on its thread.

use std::sync::Arc;
use std::time::Duration;

use lookalike_vision::{Attributes, DecodeError, Engine, Input, Limits, Watch};

use crate::strays::Strays;

/// A decoder that is at work and uses no processor at all may be so for as many times the limit.
const TIMES_ASLEEP: u32 = 10;

/// From a file's bytes to what the engine's network takes: for a thread of its own.
pub fn prepare(
    bytes: Vec<u8>,
    engine: &Engine,
    limits: &Limits,
) -> impl FnOnce(&Watch) -> Result<(Input, Attributes), DecodeError> + Send + use<> {
    let (description, limits) = (engine.description().clone(), limits.clone());
    move |watch| {
        let wanted = description.short_side_wanted();
        let decoded = lookalike_vision::decode_watched(&bytes, wanted, &limits, watch);
        let (picture, attributes) = decoded?;
        drop(bytes);
        Ok((
            lookalike_vision::preprocess(&description, &picture),
            attributes,
        ))
    }
}

/// Decodes on a thread of its own. Decoders end by themselves when their time of a processor is
/// over; one that does not is given up after twice as much, and its thread becomes a stray. A
/// machine that is busy, or a process that was frozen, makes no file slow.
pub async fn in_time<T: Send + 'static>(
    decode: impl FnOnce(&Watch) -> Result<T, DecodeError> + Send + 'static,
    most: Duration,
    strays: &Arc<Strays>,
) -> Result<T, DecodeError> {
    let watch = Watch::default();
    let own = watch.clone();
    let mut thread = tokio::task::spawn_blocking(move || decode(&own));
    let step = (most / 8).clamp(Duration::from_millis(5), Duration::from_secs(1));
    let mut patience = Patience::new(most);
    loop {
        match tokio::time::timeout(step, &mut thread).await {
            Ok(Ok(decoded)) => return decoded,
            // A panic of ours goes on to the caller.
            Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            Err(_) if patience.is_over(step, watch.is_computing(), watch.used()) => break,
            Err(_) => {}
        }
    }
    watch.give_up();
    strays.adopt(thread);
    tracing::error!("a decoder does not end; its file is listed, and its thread left behind");
    Err(DecodeError::TooSlow { max: most })
}

/// What one decoder has had so far.
struct Patience {
    most: Duration,
    used: Duration,
    asleep: Duration,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self {
            most,
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
        self.used >= self.most.saturating_mul(2)
            || self.asleep >= self.most.saturating_mul(TIMES_ASLEEP)
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
        let strays = Strays::new(0);
        // It would take an hour, and its own limit does not end it.
        let mut limits = Limits::default();
        limits.decode_timeout = Duration::MAX;
        let file = jpeg_of_scans(1_000_000);
        let endless =
            move |watch: &Watch| lookalike_vision::decode_watched(&file, 146, &limits, watch);
        let decoded = in_time(endless, Duration::from_millis(40), &strays).await;
        assert_eq!(decoded.unwrap_err().code(), "too_slow");
        // Its thread notices at its next read that nobody waits for it.
        strays.until(false).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_for_memory_is_not_slow() {
        let strays = Strays::new(0);
        let waits = |_: &Watch| {
            std::thread::sleep(Duration::from_millis(200));
            Ok(7)
        };
        let decoded = in_time(waits, Duration::from_millis(5), &strays).await;
        assert_eq!(decoded, Ok(7));
        assert_eq!(strays.too_many(), None);
    }

    /// After how many steps of a second a decoder with 30 seconds is given up, of 1,000, that
    /// uses so many milliseconds of each.
    fn given_up_after(is_at_work: bool, used_ms: u64) -> Option<u64> {
        let mut patience = Patience::new(Duration::from_secs(30));
        (1..=1_000).find(|step| {
            let used = Duration::from_millis(step * used_ms);
            patience.is_over(Duration::from_secs(1), is_at_work, used)
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
