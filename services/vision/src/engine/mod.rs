//! One thread that owns the network and its device.
//!
//! Three bounded queues lead to it. Queries, pictures and texts alike, always go ahead: whenever
//! the device is free, waiting queries form the next batch, and only when there are none the
//! images to index do. A batch is
//! what is waiting at that moment, up to the limit; nothing waits for a batch to fill up.
//!
//! Pictures and vectors never mix: every request carries its own way back, a request whose sender
//! has gone is skipped, and a batch that brings the network down is split until only the pictures
//! that do so fail. Whether it is them or the device, a trial picture tells; also where the network
//! ran and gave something that is no vector.

mod device;

use std::{panic::AssertUnwindSafe, sync::Arc, thread::JoinHandle, time::Instant};

use lookalike_chassis::metrics::STAGE_SECONDS;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Settings,
    decode::panic_message,
    engine::device::{self, SelectedDevice},
    error::Error,
    metrics::{BATCH_SIZE, DEVICE_INFO},
    model::Model,
    model::description::Description,
    model::golden,
    network::Network,
    preprocess::Input,
};

/// How far a vector's length may be from 1.
const UNIT_TOLERANCE: f64 = 1e-3;

/// A running network. Dropping it ends the thread, after the batch under way.
#[derive(Debug)]
pub struct Engine {
    description: Description,
    batch_images: usize,
    device_description: String,
    device_label: &'static str,
    golden: Vec<f32>,
    /// `None` only while dropping.
    queues: Option<JobQueues>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct JobQueues {
    queries: mpsc::Sender<EmbedJob<Input>>,
    texts: mpsc::Sender<EmbedJob<String>>,
    images: mpsc::Sender<EmbedJob<Input>>,
}

/// Pictures, or texts, that are answered together; never more than one batch.
#[derive(Debug)]
struct EmbedJob<T> {
    inputs: Vec<T>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

impl Engine {
    /// Moves the model to the device that the settings name and embeds one picture as a trial.
    /// Blocks for as long as that takes: a fraction of a second for the default on a CPU.
    ///
    /// # Errors
    /// When the device is not there, the weights do not fit, or the trial fails.
    pub fn start(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let SelectedDevice {
            device,
            label,
            description: words,
        } = device::select_device(&settings.device)?;
        let network = Arc::new(Network::from_model(model, &device)?);
        let text_network = Arc::clone(&network);
        let batch_images = settings.batch_images.max(1);
        let (queries, query_receiver) = mpsc::channel(settings.queue_queries.max(1));
        let (texts, text_receiver) = mpsc::channel(settings.queue_queries.max(1));
        let (images, image_receiver) = mpsc::channel(settings.queue_batches.max(1));
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let description = model.description.clone();
        let (side, has_text) = (description.side(), description.has_text());
        let worker = DeviceWorker {
            forward_images: Box::new(move |pixels, batch| network.forward(pixels, batch)),
            forward_texts: Box::new(move |texts| text_network.forward_texts(texts)),
            dimension: description.dimension,
            batch_images,
            trial_input: vec![128; description.input_bytes()].into_boxed_slice(),
            queries: JobQueue::new(query_receiver),
            texts: JobQueue::new(text_receiver),
            images: JobQueue::new(image_receiver),
        };
        let thread = std::thread::Builder::new()
            .name("vision-device".to_owned())
            .spawn(move || {
                let result = worker
                    .embed_trial_image()
                    .and_then(|()| worker.embed_trial_text(has_text))
                    .and_then(|()| worker.embed_golden_picture(side));
                let works = result.is_ok();
                // The receiver waits for exactly this message.
                let _ = ready.send(result);
                if works {
                    worker.run_until_closed();
                }
            })
            .map_err(Error::StartThread)?;
        let golden = started
            .recv()
            .map_err(|_| Error::Stopped)?
            .map_err(|error| Error::Warmup {
                problem: error.to_string(),
            })?;
        if let Some(expected) = &model.golden {
            golden::check_golden_vector(expected, &golden, &description.name, &words)?;
        }
        DEVICE_INFO
            .with_label_values(&[label, &description.name])
            .set(1);
        Ok(Self {
            description,
            batch_images,
            device_description: words,
            device_label: label,
            golden,
            queues: Some(JobQueues {
                queries,
                texts,
                images,
            }),
            thread: Some(thread),
        })
    }

    /// Embeds pictures ahead of everything that [`embed`](Self::embed) has queued. One vector per
    /// input, in their order; each of the model's dimension, finite, of unit length.
    ///
    /// # Errors
    /// When an input has the wrong length, or the network failed on one of them.
    pub async fn embed_query(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        self.submit_inputs(|queues| &queues.queries, inputs).await
    }

    /// Embeds pictures when no query waits. One vector per input, in their order; each of the
    /// model's dimension, finite, of unit length. Waits while the queue is full.
    ///
    /// # Errors
    /// When an input has the wrong length, or the network failed on one of them.
    pub async fn embed_images(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        self.submit_inputs(|queues| &queues.images, inputs).await
    }

    /// Embeds texts ahead of everything that [`embed`](Self::embed) has queued. One vector per
    /// text, in their order; in the same space as the pictures' vectors, finite, of unit length.
    ///
    /// # Errors
    /// [`Error::NoText`] when the model has no text side
    /// ([`has_text`](Description::has_text)), or when the network failed on one of them.
    pub async fn embed_text(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        if !self.description.has_text() {
            return Err(Error::NoText {
                model: self.description.name.clone(),
            });
        }
        self.submit_inputs(|queues| &queues.texts, texts).await
    }

    fn check_inputs(&self, inputs: &[Input]) -> Result<(), Error> {
        let expected = self.description.input_bytes();
        match inputs.iter().find(|input| input.len() != expected) {
            None => Ok(()),
            Some(wrong) => Err(Error::WrongInput {
                model: self.description.name.clone(),
                found: wrong.len(),
                expected,
                side: self.description.side(),
            }),
        }
    }

    async fn submit_inputs<T>(
        &self,
        queue: impl Fn(&JobQueues) -> &mpsc::Sender<EmbedJob<T>>,
        inputs: Vec<T>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let queue = queue(self.queues.as_ref().ok_or(Error::Stopped)?);
        let mut vectors = Vec::with_capacity(inputs.len());
        let mut answers = Vec::new();
        let mut inputs = inputs.into_iter();
        loop {
            let chunk: Vec<T> = inputs.by_ref().take(self.batch_images).collect();
            if chunk.is_empty() {
                break;
            }
            let (reply, answer) = oneshot::channel();
            let job = EmbedJob {
                inputs: chunk,
                reply,
            };
            queue.send(job).await.map_err(|_| Error::Stopped)?;
            answers.push(answer);
        }
        for answer in answers {
            vectors.extend(answer.await.map_err(|_| Error::Stopped)??);
        }
        Ok(vectors)
    }

    /// What this model makes of the golden picture on this device: equal to what any other device
    /// makes of it, or one of them must not be used.
    pub fn golden(&self) -> &[f32] {
        &self.golden
    }

    /// The model that runs.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// `cpu`, `cuda` or `vulkan`.
    pub fn device_label(&self) -> &'static str {
        self.device_label
    }

    /// One line for logs: model, device and why, as `lookalike-mini (384 numbers) on cpu: burn
    /// flex, AVX-512, 2 threads; no GPU support in this build`.
    pub fn device_line(&self) -> String {
        format!(
            "{} ({} numbers) on {}: {}",
            self.description.name,
            self.description.dimension,
            self.device_label,
            self.device_description
        )
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queues = None;
        if let Some(thread) = self.thread.take() {
            // Requests still queued have lost their senders' interest and are skipped, so this
            // waits for one batch at most.
            if thread.join().is_err() {
                tracing::error!("the device thread ended by a panic");
            }
        }
        DEVICE_INFO
            .with_label_values(&[self.device_label, &self.description.name])
            .set(0);
    }
}

/// A queue with room for one job that did not fit into the last batch.
struct JobQueue<T> {
    receiver: mpsc::Receiver<EmbedJob<T>>,
    held_back: Option<EmbedJob<T>>,
    /// Every sender is gone.
    is_closed: bool,
}

impl<T> JobQueue<T> {
    fn new(receiver: mpsc::Receiver<EmbedJob<T>>) -> Self {
        Self {
            receiver,
            held_back: None,
            is_closed: false,
        }
    }

    /// The next job whose sender still waits, if one is there now.
    fn next_job(&mut self) -> Option<EmbedJob<T>> {
        loop {
            let job = match self.held_back.take() {
                Some(job) => job,
                None => match self.receiver.try_recv() {
                    Ok(job) => job,
                    Err(mpsc::error::TryRecvError::Empty) => return None,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.is_closed = true;
                        return None;
                    }
                },
            };
            if !job.reply.is_closed() {
                return Some(job);
            }
        }
    }

    /// What waits now, up to `max_inputs`, but at least one job.
    fn take_batch(&mut self, max_inputs: usize) -> Vec<EmbedJob<T>> {
        let mut batch = Vec::new();
        let mut inputs = 0;
        while let Some(job) = self.next_job() {
            if !batch.is_empty() && inputs + job.inputs.len() > max_inputs {
                self.held_back = Some(job);
                break;
            }
            inputs += job.inputs.len();
            batch.push(job);
        }
        batch
    }

    /// Until a job arrives, or the queue ends. Dropping it half-way loses nothing.
    async fn wait_for_job(&mut self) {
        match self.receiver.recv().await {
            Some(job) => self.held_back = Some(job),
            None => self.is_closed = true,
        }
    }
}

type ImageForward = Box<dyn Fn(&[u8], usize) -> Vec<f32> + Send>;
type TextForward = Box<dyn Fn(&[String]) -> Result<Vec<f32>, Error> + Send>;

/// Runs a batch: one vector for each input, or why there is none.
type EmbedBatch<'a, T> = &'a dyn Fn(&[T]) -> Result<Vec<Vec<f32>>, Error>;

/// What lives on the device thread.
struct DeviceWorker {
    /// The whole network: pixels of a batch → its vectors, joined.
    forward_images: ImageForward,
    /// The same for texts.
    forward_texts: TextForward,
    dimension: usize,
    batch_images: usize,
    /// A picture that the network embeds if the device works.
    trial_input: Input,
    queries: JobQueue<Input>,
    texts: JobQueue<String>,
    images: JobQueue<Input>,
}

impl DeviceWorker {
    fn run_until_closed(mut self) {
        // Only for waiting on two queues at once.
        let runtime = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the device thread can not wait for work and ends");
                return;
            }
        };
        loop {
            let queries = self.queries.take_batch(self.batch_images);
            let texts = self.texts.take_batch(self.batch_images);
            if !queries.is_empty() || !texts.is_empty() {
                self.answer_jobs(queries, &|inputs| self.forward_checked_images(inputs));
                self.answer_jobs(texts, &|texts| self.forward_checked_texts(texts));
                continue;
            }
            let images = self.images.take_batch(self.batch_images);
            if !images.is_empty() {
                self.answer_jobs(images, &|inputs| self.forward_checked_images(inputs));
            } else if self.queries.is_closed && self.texts.is_closed && self.images.is_closed {
                return;
            } else {
                runtime.block_on(self.wait_for_job());
            }
        }
    }

    /// Until something arrives, or a queue ends.
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
            // All of a request's own results are taken, also behind a failed one: the next
            // request's begin where they end.
            let own_results: Vec<Result<Vec<f32>, Error>> = results.by_ref().take(count).collect();
            // A sender that has left needs no answer.
            let _ = reply.send(own_results.into_iter().collect());
        }
    }

    /// One checked vector, or why there is none, for each input. A batch that fails is split, so
    /// that nobody fails for another's sake. Where the device is broken, none of a batch's vectors
    /// is believed.
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
                let first_error = checked.iter().find_map(|one| one.as_ref().err());
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
            tracing::warn!(%error, batch_images = inputs.len(), "a batch failed, splitting it");
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

    /// What is wrong with the device, if this error is not the pictures' fault.
    fn diagnose_device(&self, error: &Error) -> Option<String> {
        let trial = self.embed_trial_image().err()?;
        tracing::error!(%error, %trial, "the device fails on the trial picture too");
        Some(error.to_string())
    }

    /// Whether the device works, found out by one picture.
    fn embed_trial_image(&self) -> Result<(), Error> {
        let vectors = self.forward_checked_images(std::slice::from_ref(&self.trial_input))?;
        check_unit_vector(&vectors[0])
    }

    /// Whether the device works for texts as well, where the model takes them.
    fn embed_trial_text(&self, has_text: bool) -> Result<(), Error> {
        if !has_text {
            return Ok(());
        }
        let vectors = self.forward_checked_texts(&["a picture".to_owned()])?;
        check_unit_vector(&vectors[0])
    }

    /// Embeds the golden picture.
    fn embed_golden_picture(&self, side: u32) -> Result<Vec<f32>, Error> {
        let vectors = self.forward_checked_images(&[golden::draw_golden_picture(side)])?;
        let vector = vectors.into_iter().next().ok_or(Error::Stopped)?;
        check_unit_vector(&vector)?;
        Ok(vector)
    }

    /// Runs the network; one vector per input, of the right length, otherwise unchecked.
    fn forward_checked_images(&self, inputs: &[Input]) -> Result<Vec<Vec<f32>>, Error> {
        let batch = inputs.len();
        let pixels = inputs.concat();
        self.run_observed(batch, || Ok((self.forward_images)(&pixels, batch)))
    }

    /// The same for texts.
    fn forward_checked_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        self.run_observed(texts.len(), || (self.forward_texts)(texts))
    }

    /// Measures a batch, catches its panic, and takes its vectors apart.
    fn run_observed(
        &self,
        batch: usize,
        forward: impl FnOnce() -> Result<Vec<f32>, Error>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        BATCH_SIZE.observe(batch as f64);
        let start = Instant::now();
        // The network keeps no state between batches, so it is as good after a panic as before.
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

/// Finite and of unit length: what every vector must be that leaves this crate.
fn check_unit_vector(vector: &[f32]) -> Result<(), Error> {
    let squares: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
    let length = squares.sqrt();
    if !length.is_finite() || (length - 1.0).abs() > UNIT_TOLERANCE {
        return Err(Error::BadVector {
            problem: format!("its length is {length}, not 1"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
