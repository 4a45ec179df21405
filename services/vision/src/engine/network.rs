//! The network on one device, as the engine runs it: with caught panics and checked vectors.

use std::{panic::AssertUnwindSafe, time::Instant};

use lookalike_chassis::metrics::STAGE_SECONDS;

use super::canary::CanaryPair;
use crate::{error::Error, metrics::BATCH_SIZE, panics::panic_message, preprocess::Input};

/// How far a vector's length may differ from 1.
const UNIT_TOLERANCE: f64 = 1e-3;

type ImageForward = Box<dyn Fn(&[u8], usize, Urgency) -> Vec<f32> + Send>;
type TextForward = Box<dyn Fn(&[String]) -> Result<Vec<f32>, Error> + Send>;

/// Embeds a batch: returns one vector per input, or the error of the whole batch.
type EmbedBatch<'a, T> = &'a dyn Fn(&[&T]) -> Result<Vec<Vec<f32>>, Error>;

/// Whether a query waits for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Query,
    Background,
}

/// A network that is loaded on a device.
pub(super) struct DeviceNetwork {
    /// The whole network: the pixels of a batch → its vectors, joined.
    pub forward_images: ImageForward,
    /// The text encoder: texts → their vectors, joined.
    pub forward_texts: TextForward,
    pub dimension: usize,
    /// An image that the network can embed if the device works.
    pub trial_input: Input,
    /// The vector of the golden picture, if opening the device has already computed it.
    pub golden: Option<Vec<f32>>,
    /// Whether every batch contains a known input, too, once the device was checked.
    pub has_canary: bool,
    pub image_canaries: Option<CanaryPair<Input>>,
    /// None if the model embeds no texts.
    pub text_canaries: Option<CanaryPair<String>>,
    /// The most images of one run, with a canary, if the device's memory does not decide.
    pub max_batch: usize,
    /// Whether to run only batches of 1, 2, 4, 8, … images, with a canary.
    pub has_power_of_two: bool,
    pub memory: Option<DeviceMemory>,
    /// Device and precision, for people.
    pub description: String,
}

/// Memory of a device.
pub(super) struct DeviceMemory {
    /// Bytes that this process may use.
    pub capacity: u64,
    /// Returns the bytes that this process has reserved.
    pub reserved: Box<dyn Fn() -> Option<u64> + Send>,
    /// What was reserved when only the weights were loaded.
    pub reserved_by_weights: u64,
}

/// The device failed, not an input. The whole batch must run elsewhere.
#[derive(Debug)]
pub(super) struct DeviceFailure {
    pub problem: String,
}

/// One result per input, and whether the batch worked only in parts.
pub(super) struct BatchResults {
    pub results: Vec<Result<Vec<f32>, Error>>,
    /// The inputs of the largest run that worked.
    pub largest_run: usize,
}

impl BatchResults {
    /// Returns whether the batch failed as a whole, but every part of it succeeded.
    pub(super) fn is_too_large(&self) -> bool {
        self.largest_run < self.results.len() && self.results.iter().all(Result::is_ok)
    }
}

impl DeviceNetwork {
    pub(super) fn embed_images(
        &self,
        inputs: &[&Input],
        urgency: Urgency,
    ) -> Result<BatchResults, DeviceFailure> {
        self.embed_each(inputs, &|inputs| self.run_image_batch(inputs, urgency))
    }

    pub(super) fn embed_texts(&self, texts: &[&String]) -> Result<BatchResults, DeviceFailure> {
        self.embed_each(texts, &|texts| self.run_text_batch(texts))
    }

    /// Returns one checked vector or an error for each input. A failing batch is bisected, so that only
    /// the failing inputs fail. If the device is broken, none of the batch's vectors is trusted.
    fn embed_each<T>(
        &self,
        inputs: &[&T],
        embed_batch: EmbedBatch<'_, T>,
    ) -> Result<BatchResults, DeviceFailure> {
        let error = match embed_batch(inputs) {
            Ok(vectors) => {
                let results: Vec<Result<Vec<f32>, Error>> = vectors
                    .into_iter()
                    .map(|vector| check_unit_vector(&vector).map(|()| vector))
                    .collect();
                if let Some(error) = results.iter().find_map(|vector| vector.as_ref().err()) {
                    self.verify_device(error)?;
                }
                let largest_run = inputs.len();
                return Ok(BatchResults {
                    results,
                    largest_run,
                });
            }
            Err(error) => error,
        };
        if inputs.len() > 1 {
            tracing::warn!(%error, batch_images = inputs.len(), "a batch failed; retrying each half");
            let (first, second) = inputs.split_at(inputs.len() / 2);
            let mut batch = self.embed_each(first, embed_batch)?;
            let second = self.embed_each(second, embed_batch)?;
            batch.results.extend(second.results);
            batch.largest_run = batch.largest_run.max(second.largest_run);
            return Ok(batch);
        }
        self.verify_device(&error)?;
        Ok(BatchResults {
            results: vec![Err(error)],
            largest_run: 0,
        })
    }

    /// Checks with known inputs whether the device works, after an error that the inputs may have
    /// caused.
    fn verify_device(&self, error: &Error) -> Result<(), DeviceFailure> {
        self.embed_trials().map_err(|trial| {
            tracing::error!(%error, trial_error = %trial, "the device also fails on a known input");
            DeviceFailure {
                problem: error.to_string(),
            }
        })
    }

    /// Checks with one image whether the device works.
    pub(super) fn embed_trial_image(&self) -> Result<(), Error> {
        self.embed_image(&self.trial_input).map(|_| ())
    }

    /// Embeds known inputs one by one; with canaries, each next to both of them, because old memory can
    /// have the right vector of only one.
    fn embed_trials(&self) -> Result<(), Error> {
        self.embed_trial_image()?;
        if self.image_canaries.is_some() {
            self.embed_trial_image()?;
        }
        if let Some(canaries) = &self.text_canaries {
            self.embed_text(canaries.first_input())?;
            self.embed_text(canaries.first_input())?;
        }
        Ok(())
    }

    /// Has the following batches contain a canary, if the device needs that. `texts` has two different
    /// texts if the model embeds texts. Runs the size of a single query, for which a GPU prepares its
    /// kernels.
    pub(super) fn arm_canaries(&mut self, texts: &[String]) -> Result<(), Error> {
        if !self.has_canary {
            return Ok(());
        }
        let stripes = draw_stripes(self.trial_input.len());
        let stripes_vector = self.embed_image(&stripes)?;
        let gray_vector = self.embed_image(&self.trial_input)?;
        let text_vectors = match texts {
            [first, second, ..] => Some([
                (first.clone(), self.embed_text(first)?),
                (second.clone(), self.embed_text(second)?),
            ]),
            _ => None,
        };
        self.image_canaries = Some(CanaryPair::new([
            (self.trial_input.clone(), gray_vector),
            (stripes, stripes_vector),
        ])?);
        self.text_canaries = text_vectors.map(CanaryPair::new).transpose()?;
        self.embed_trials()
    }

    /// Embeds one image and checks the vector.
    pub(super) fn embed_image(&self, input: &Input) -> Result<Vec<f32>, Error> {
        take_checked(self.run_image_batch(&[input], Urgency::Query)?)
    }

    /// Embeds one text and checks the vector.
    pub(super) fn embed_text(&self, text: &String) -> Result<Vec<f32>, Error> {
        take_checked(self.run_text_batch(&[text])?)
    }

    /// Returns the most images of one run, with a canary, that fit into the device's memory, as a
    /// batch of `trial_images` shows; a power of two, at most `max_images`.
    pub(super) fn measure_max_batch(&self, trial_images: usize, max_images: usize) -> usize {
        let Some(memory) = &self.memory else {
            return self.max_batch;
        };
        let canaries = usize::from(self.image_canaries.is_some());
        let batch = vec![&self.trial_input; trial_images.saturating_sub(canaries).max(1)];
        if self.run_image_batch(&batch, Urgency::Background).is_err() {
            return (trial_images / 2).max(1);
        }
        let Some(reserved) = (memory.reserved)() else {
            return self.max_batch;
        };
        fit_batch_into_memory(
            memory.capacity,
            memory.reserved_by_weights,
            reserved.saturating_sub(memory.reserved_by_weights) / trial_images.max(1) as u64,
            max_images,
        )
    }

    /// Runs the network. Returns one vector per input with the model's dimension, otherwise
    /// unchecked.
    ///
    /// # Errors
    /// Also if the device computes another vector of a canary than before.
    fn run_image_batch(&self, inputs: &[&Input], urgency: Urgency) -> Result<Vec<Vec<f32>>, Error> {
        run_with_canary(inputs, self.image_canaries.as_ref(), |inputs| {
            let pixels: Vec<&[u8]> = inputs.iter().map(|input| &***input).collect();
            let (batch, pixels) = (pixels.len(), pixels.concat());
            self.run_observed(batch, || Ok((self.forward_images)(&pixels, batch, urgency)))
        })
    }

    /// Runs the text encoder. Returns vectors as [`run_image_batch`](Self::run_image_batch) does.
    fn run_text_batch(&self, texts: &[&String]) -> Result<Vec<Vec<f32>>, Error> {
        run_with_canary(texts, self.text_canaries.as_ref(), |texts| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).clone()).collect();
            self.run_observed(texts.len(), || (self.forward_texts)(&texts))
        })
    }

    /// Measures a batch, catches its panic, and splits its vectors.
    fn run_observed(
        &self,
        batch: usize,
        forward: impl FnOnce() -> Result<Vec<f32>, Error>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        BATCH_SIZE.observe(batch as f64);
        let start = Instant::now();
        // Unwind safe: between batches, the network keeps only the numbers of runs.
        let vectors = std::panic::catch_unwind(AssertUnwindSafe(forward)).map_err(|panic| {
            Error::Network {
                batch_images: batch,
                problem: panic_message(&*panic),
            }
        })??;
        STAGE_SECONDS
            .with_label_values(&["network"])
            .observe(start.elapsed().as_secs_f64());
        if vectors.len() != batch * self.dimension {
            return Err(Error::BadVector {
                problem: format!(
                    "{} numbers for {batch} inputs of dimension {}",
                    vectors.len(),
                    self.dimension
                ),
            });
        }
        Ok(vectors
            .chunks_exact(self.dimension)
            .map(<[f32]>::to_vec)
            .collect())
    }
}

/// Runs a batch with a canary, if there are some, and returns the vectors of the inputs only.
fn run_with_canary<T>(
    inputs: &[&T],
    canaries: Option<&CanaryPair<T>>,
    run: impl FnOnce(&[&T]) -> Result<Vec<Vec<f32>>, Error>,
) -> Result<Vec<Vec<f32>>, Error> {
    let Some(canaries) = canaries else {
        return run(inputs);
    };
    let canary = canaries.place_next(inputs.len());
    let mut batch = inputs.to_vec();
    batch.insert(canary.position, canary.input);
    let mut vectors = run(&batch)?;
    canary.remove_vector(&mut vectors)?;
    Ok(vectors)
}

/// Draws an image that no network takes for the gray trial image.
fn draw_stripes(bytes: usize) -> Input {
    let pixels = (0..bytes).map(|i| if i / 3 % 16 < 8 { 250 } else { 5 });
    pixels.collect()
}

fn take_checked(vectors: Vec<Vec<f32>>) -> Result<Vec<f32>, Error> {
    let vector = vectors.into_iter().next().ok_or(Error::Stopped)?;
    check_unit_vector(&vector)?;
    Ok(vector)
}

/// Checks that a vector is finite and of unit length, before it leaves this crate.
pub(super) fn check_unit_vector(vector: &[f32]) -> Result<(), Error> {
    let squares: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    let length = squares.sqrt();
    if !length.is_finite() || (length - 1.0).abs() > UNIT_TOLERANCE {
        return Err(Error::BadVector {
            problem: format!("its length is {length}, not 1"),
        });
    }
    Ok(())
}

/// Returns how many images fit, if everything together may use 60 % of the memory: the allocator keeps
/// free pages of several sizes, and other programs use the device, too.
fn fit_batch_into_memory(
    capacity: u64,
    weights: u64,
    bytes_per_image: u64,
    max_images: usize,
) -> usize {
    let available = (capacity / 5 * 3).saturating_sub(weights);
    let images = (available / bytes_per_image.max(1)).clamp(1, max_images.max(1) as u64);
    1 << images.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unit_vectors_pass() {
        assert!(check_unit_vector(&[0.6, 0.8]).is_ok());
        for bad in [
            [0.6, 0.9],
            [0.0, 0.0],
            [f32::NAN, 1.0],
            [f32::INFINITY, 0.0],
        ] {
            assert!(check_unit_vector(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn batches_fit_into_the_memory() {
        const MIB: u64 = 1 << 20;
        assert_eq!(
            fit_batch_into_memory(1000 * MIB, 100 * MIB, 50 * MIB, 64),
            8
        );
        assert_eq!(
            fit_batch_into_memory(80_000 * MIB, 100 * MIB, 50 * MIB, 64),
            64
        );
        assert_eq!(fit_batch_into_memory(100 * MIB, 100 * MIB, 50 * MIB, 64), 1);
        assert_eq!(fit_batch_into_memory(1000 * MIB, 0, 0, 48), 32);
    }
}
