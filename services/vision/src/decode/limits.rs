//! Limits that are checked before a decoder allocates memory.
//!
//! There are two bounds: one per image (bytes, pixels, side, memory), and one on the memory of all
//! decoders of the process together. The process-wide bound is a FIFO queue: threads wait until
//! their memory is available. So a thread pool that decodes the largest allowed images stays within
//! one `max_decode_bytes`. The image that a decoder returns belongs to the caller and no longer
//! counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{DecodeError, RaisedLimits};
use crate::settings::Settings;

/// What a file's header claims, and what decoding it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeClaim {
    pub width: u32,
    pub height: u32,
    /// Pixels that the decoder keeps: fewer than the image has if the decoder reduces it.
    pub kept_pixels: u64,
    /// Memory that the decoder will reserve; 0 if it is not known yet.
    pub needed_bytes: u64,
}

/// Limits of decoding, created from [`Settings`]. Clones share the memory budget.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_file_bytes: u64,
    pub max_pixels: u64,
    /// Longest allowed side, in pixels.
    pub max_side: u32,
    /// Memory of all decodes together.
    pub max_decode_bytes: u64,
    /// CPU time of one decode.
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
    /// Checks a file's length, so that a file can be rejected before it is read.
    ///
    /// # Errors
    /// Fails with [`DecodeError::Empty`] or [`DecodeError::TooLarge`].
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

    /// Checks the size in pixels that an image's header claims, for a decoder that keeps them all.
    pub(crate) fn check_pixels(
        &self,
        format: &'static str,
        width: u32,
        height: u32,
    ) -> Result<(), DecodeError> {
        self.check_claim(
            format,
            &DecodeClaim {
                width,
                height,
                kept_pixels: u64::from(width) * u64::from(height),
                needed_bytes: 0,
            },
        )
    }

    /// Checks what a file's header claims. The error names every limit that the file exceeds.
    pub(crate) fn check_claim(
        &self,
        format: &'static str,
        claim: &DecodeClaim,
    ) -> Result<(), DecodeError> {
        let (width, height) = (claim.width, claim.height);
        if width == 0 || height == 0 {
            return Err(DecodeError::Corrupt {
                format,
                reason: format!("it claims to be {width} x {height} pixels"),
            });
        }
        let side = width.max(height);
        if side <= self.max_side && claim.kept_pixels <= self.max_pixels {
            return Ok(());
        }
        Err(DecodeError::TooManyPixels {
            width,
            height,
            max_pixels: self.max_pixels,
            max_side: self.max_side,
            raised: RaisedLimits {
                max_pixels: (claim.kept_pixels > self.max_pixels).then_some(claim.kept_pixels),
                max_side: (side > self.max_side).then_some(side),
                max_decode_bytes: (claim.needed_bytes > self.max_decode_bytes)
                    .then_some(claim.needed_bytes),
            },
        })
    }

    /// Bytes that are reserved now.
    #[cfg(test)]
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.budget.state.lock().unwrap().reserved_bytes
    }

    /// Reserves `bytes` of the shared budget and blocks until they are available. Dropping the
    /// [`MemoryPermit`] releases them.
    pub(crate) fn reserve_memory(&self, bytes: u64) -> Result<MemoryPermit, DecodeError> {
        if bytes > self.max_decode_bytes {
            return Err(DecodeError::TooMuchMemory {
                max_bytes: self.max_decode_bytes,
                raised: RaisedLimits {
                    max_decode_bytes: Some(bytes),
                    ..RaisedLimits::default()
                },
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
        // Tickets keep the order, so that a stream of small images does not starve a large one.
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

/// Reserved memory. An abandoned decode's monitor releases it before the decoder's permit does.
#[derive(Debug)]
pub(crate) struct MemoryReservation {
    bytes: AtomicU64,
    budget: Arc<MemoryBudget>,
}

impl MemoryReservation {
    pub(crate) fn is_released(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    /// Releases the memory; later calls do nothing.
    pub(crate) fn release_once(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.budget.release_bytes(bytes);
        }
    }
}

/// A decoder's permission to use reserved memory.
#[derive(Debug)]
pub(crate) struct MemoryPermit {
    reservation: Arc<MemoryReservation>,
}

impl MemoryPermit {
    pub(crate) fn reservation(&self) -> &Arc<MemoryReservation> {
        &self.reservation
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.reservation.release_once();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            "a decode that can never fit is refused instead of waiting for ever"
        );
    }

    /// Encodes an image so large that every decoder needs some memory.
    fn encode_large(format: image::ImageFormat) -> Vec<u8> {
        let image = image::RgbImage::from_fn(900, 700, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    #[test]
    fn an_error_names_every_setting_to_raise() {
        use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Qoi, Tga, Tiff, WebP};
        for format in [Bmp, Gif, Jpeg, Png, Pnm, Qoi, Tga, Tiff, WebP] {
            let file = encode_large(format);
            let mut settings = Settings {
                max_pixels: 1000,
                max_side: 800,
                max_decode_bytes: 100_000,
                ..Settings::default()
            };
            let decode = |settings: &Settings| {
                crate::decode_image(&file, 700, &Limits::from(settings)).map(|_| ())
            };
            let error = decode(&settings).unwrap_err();
            let text = error.to_string();
            let DecodeError::TooManyPixels { raised, .. } = error else {
                panic!("{format:?}: {error}");
            };
            assert_eq!(
                (raised.max_pixels, raised.max_side),
                (Some(630_000), Some(900))
            );
            assert!(
                text.contains(
                    "; to index it, set vision.max_pixels to at least 630000 and vision.max_side to \
                     at least 900 and vision.max_decode_bytes to at least \""
                ),
                "{text}"
            );
            settings.max_pixels = 630_000;
            settings.max_side = 900;
            settings.max_decode_bytes = raised.max_decode_bytes.unwrap();
            assert_eq!(decode(&settings), Ok(()), "{format:?}: {text}");
            // The memory is what the error says, not much more than needed.
            settings.max_decode_bytes = 100_000;
            let error = decode(&settings).unwrap_err();
            assert_eq!(error.code(), "too_much_memory", "{format:?}: {error}");
            assert!(
                error
                    .to_string()
                    .contains("set vision.max_decode_bytes to at least")
            );
        }
    }

    /// An eighth of each side is all that is kept of it.
    #[test]
    fn a_reduced_jpeg_is_limited_by_what_is_kept() {
        let file = encode_large(image::ImageFormat::Jpeg);
        let mut limits = Limits {
            max_pixels: 113 * 88,
            max_decode_bytes: 113 * 88 * 6,
            ..Limits::default()
        };
        assert!(crate::decode_image(&file, 50, &limits).is_ok());
        assert!(crate::decode_image(&file, 100, &limits).is_err());
        limits.max_side = 899;
        assert!(crate::decode_image(&file, 50, &limits).is_err());
    }
}
