//! The device thread: forms batches, runs the network and replies.

use std::{panic::AssertUnwindSafe, time::Instant};

use lookalike_chassis::metrics::STAGE_SECONDS;

use super::queue::{EmbedJob, JobQueue};
use crate::{
    error::Error, metrics::BATCH_SIZE, model::golden::draw_golden_picture, panics::panic_message,
    preprocess::Input,
};

/// How far a vector's length may differ from 1.
const UNIT_TOLERANCE: f64 = 1e-3;

type ImageForward = Box<dyn Fn(&[u8], usize) -> Vec<f32> + Send>;
type TextForward = Box<dyn Fn(&[String]) -> Result<Vec<f32>, Error> + Send>;

/// Embeds a batch: returns one vector per input, or the error of the whole batch.
type EmbedBatch<'a, T> = &'a dyn Fn(&[T]) -> Result<Vec<Vec<f32>>, Error>;

/// State of the device thread.
pub(super) struct DeviceWorker {
    /// The whole network: the pixels of a batch → its vectors, joined.
    pub forward_images: ImageForward,
    /// The text encoder: texts → their vectors, joined.
    pub forward_texts: TextForward,
    pub dimension: usize,
    pub batch_images: usize,
    /// An image that the network can embed if the device works.
    pub trial_input: Input,
    pub queries: JobQueue<Input>,
    pub texts: JobQueue<String>,
    pub images: JobQueue<Input>,
}

impl DeviceWorker {
    pub(super) fn run_until_closed(mut self) {
        // The runtime is only needed to wait for several queues at once.
        let runtime = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the device thread cannot wait for requests and ends");
                return;
            }
        };
        loop {
            let queries = self.queries.take_batch(self.batch_images);
            let texts = self.texts.take_batch(self.batch_images);
            if !queries.is_empty() || !texts.is_empty() {
                self.answer_jobs(queries, &|inputs| self.run_image_batch(inputs));
                self.answer_jobs(texts, &|texts| self.run_text_batch(texts));
                continue;
            }
            let images = self.images.take_batch(self.batch_images);
            if !images.is_empty() {
                self.answer_jobs(images, &|inputs| self.run_image_batch(inputs));
            } else if self.queries.is_closed && self.texts.is_closed && self.images.is_closed {
                return;
            } else {
                runtime.block_on(self.wait_for_job());
            }
        }
    }

    /// Waits until a job arrives or a queue is closed.
    async fn wait_for_job(&mut self) {
        tokio::select! {
            biased;
            () = self.queries.wait_for_job(), if !self.queries.is_closed => {}
            () = self.texts.wait_for_job(), if !self.texts.is_closed => {}
            () = self.images.wait_for_job(), if !self.images.is_closed => {}
        }
    }

    fn answer_jobs<T>(&self, batch: Vec<EmbedJob<T>>, embed_batch: EmbedBatch<'_, T>) {
        if batch.is_empty() {
            return;
        }
        let mut inputs = Vec::new();
        let mut replies = Vec::new();
        for job in batch {
            replies.push((job.inputs.len(), job.reply));
            inputs.extend(job.inputs);
        }
        let results = self.embed_each(&inputs, embed_batch);
        assert_eq!(results.len(), inputs.len(), "one result for each input");
        let mut results = results.into_iter();
        for (count, reply) in replies {
            // All results of this request are taken, even after a failed one, because the results
            // of the next request follow them.
            let own_results: Vec<Result<Vec<f32>, Error>> = results.by_ref().take(count).collect();
            // The sender may be gone, then the reply is not needed.
            let _ = reply.send(own_results.into_iter().collect());
        }
    }

    /// Returns one checked vector or an error for each input. A failing batch is bisected, so that
    /// only the failing inputs fail. If the device is broken, none of the batch's vectors is trusted.
    fn embed_each<T>(
        &self,
        inputs: &[T],
        embed_batch: EmbedBatch<'_, T>,
    ) -> Vec<Result<Vec<f32>, Error>> {
        let error = match embed_batch(inputs) {
            Ok(vectors) => {
                let checked: Vec<Result<Vec<f32>, Error>> = vectors
                    .into_iter()
                    .map(|vector| check_unit_vector(&vector).map(|()| vector))
                    .collect();
                let first_error = checked.iter().find_map(|vector| vector.as_ref().err());
                return match first_error.and_then(|error| self.diagnose_device(error)) {
                    None => checked,
                    Some(problem) => inputs
                        .iter()
                        .map(|_| {
                            let problem = problem.clone();
                            Err(Error::Broken { problem })
                        })
                        .collect(),
                };
            }
            Err(error) => error,
        };
        if inputs.len() > 1 {
            tracing::warn!(%error, batch_images = inputs.len(), "a batch failed; retrying each half");
            let (first, second) = inputs.split_at(inputs.len() / 2);
            let mut results = self.embed_each(first, embed_batch);
            results.extend(self.embed_each(second, embed_batch));
            return results;
        }
        vec![Err(match self.diagnose_device(&error) {
            None => error,
            Some(problem) => Error::Broken { problem },
        })]
    }

    /// Returns the device's problem, if the device and not the inputs caused this error.
    fn diagnose_device(&self, error: &Error) -> Option<String> {
        let trial = self.embed_trial_image().err()?;
        tracing::error!(%error, trial_error = %trial, "the device also fails on the trial image");
        Some(error.to_string())
    }

    /// Checks with one image whether the device works.
    pub(super) fn embed_trial_image(&self) -> Result<(), Error> {
        let vectors = self.run_image_batch(std::slice::from_ref(&self.trial_input))?;
        check_unit_vector(&vectors[0])
    }

    /// Checks with one text whether the device works, if the model embeds texts.
    pub(super) fn embed_trial_text(&self, has_text: bool) -> Result<(), Error> {
        if !has_text {
            return Ok(());
        }
        let vectors = self.run_text_batch(&["a picture".to_owned()])?;
        check_unit_vector(&vectors[0])
    }

    pub(super) fn embed_golden_picture(&self, side: u32) -> Result<Vec<f32>, Error> {
        let vectors = self.run_image_batch(&[draw_golden_picture(side)])?;
        let vector = vectors.into_iter().next().ok_or(Error::Stopped)?;
        check_unit_vector(&vector)?;
        Ok(vector)
    }

    /// Runs the network. Returns one vector per input with the model's dimension, otherwise
    /// unchecked.
    fn run_image_batch(&self, inputs: &[Input]) -> Result<Vec<Vec<f32>>, Error> {
        let batch = inputs.len();
        let pixels = inputs.concat();
        self.run_observed(batch, || Ok((self.forward_images)(&pixels, batch)))
    }

    /// Runs the text encoder. Returns vectors as [`run_image_batch`](Self::run_image_batch) does.
    fn run_text_batch(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        self.run_observed(texts.len(), || (self.forward_texts)(texts))
    }

    /// Measures a batch, catches its panic, and splits its vectors.
    fn run_observed(
        &self,
        batch: usize,
        forward: impl FnOnce() -> Result<Vec<f32>, Error>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        BATCH_SIZE.observe(batch as f64);
        let start = Instant::now();
        // Unwind safe: the network keeps no state between batches.
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
