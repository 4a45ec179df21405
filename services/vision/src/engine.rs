//! One thread that owns the network and its device.
//!
//! Two bounded queues lead to it. Queries always go ahead: whenever the device is free, waiting
//! queries form the next batch, and only when there are none the images to index do. A batch is
//! what is waiting at that moment, up to the limit; nothing waits for a batch to fill up.
//!
//! Pictures and vectors never mix: every request carries its own way back, a request whose sender
//! has gone is skipped, and a batch that brings the network down is split until only the pictures
//! that do so fail. Whether it is them or the device, a trial picture tells; also where the network
//! ran and gave something that is no vector.

use std::{panic::AssertUnwindSafe, thread::JoinHandle, time::Instant};

use lookalike_chassis::metrics::STAGE_SECONDS;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Settings,
    decode::panic_message,
    description::Description,
    device::{self, Chosen},
    error::Error,
    metrics::{BATCH_SIZE, DEVICE_INFO},
    model::Model,
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
    device_words: String,
    device_label: &'static str,
    /// `None` only while dropping.
    queues: Option<Queues>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    queries: mpsc::Sender<Job>,
    images: mpsc::Sender<Job>,
}

/// Pictures that are answered together; never more than one batch.
#[derive(Debug)]
struct Job {
    inputs: Vec<Input>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

impl Engine {
    /// Moves the model to the device that the settings name and embeds one picture as a trial.
    /// Blocks for as long as that takes: a fraction of a second for the default on a CPU.
    ///
    /// # Errors
    /// When the device is not there, the weights do not fit, or the trial fails.
    pub fn start(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let Chosen {
            device,
            label,
            words,
        } = device::choose(&settings.device)?;
        let network = Network::load(model, &device)?;
        let batch_images = settings.batch_images.max(1);
        let (queries, query_receiver) = mpsc::channel(settings.queue_queries.max(1));
        let (images, image_receiver) = mpsc::channel(settings.queue_batches.max(1));
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let description = model.description.clone();
        let worker = Worker {
            run: Box::new(move |pixels, batch| network.forward(pixels, batch)),
            dimension: description.dimension,
            batch_images,
            trial: vec![128; description.input_bytes()].into_boxed_slice(),
            queries: Queue::new(query_receiver),
            images: Queue::new(image_receiver),
        };
        let thread = std::thread::Builder::new()
            .name("vision-device".to_owned())
            .spawn(move || {
                let result = worker.try_out();
                let works = result.is_ok();
                // The receiver waits for exactly this message.
                let _ = ready.send(result);
                if works {
                    worker.work();
                }
            })
            .map_err(Error::StartThread)?;
        started
            .recv()
            .map_err(|_| Error::Stopped)?
            .map_err(|error| Error::Warmup {
                problem: error.to_string(),
            })?;
        DEVICE_INFO
            .with_label_values(&[label, &description.name])
            .set(1);
        Ok(Self {
            description,
            batch_images,
            device_words: words,
            device_label: label,
            queues: Some(Queues { queries, images }),
            thread: Some(thread),
        })
    }

    /// Embeds pictures ahead of everything that [`embed`](Self::embed) has queued. One vector per
    /// input, in their order; each of the model's dimension, finite, of unit length.
    ///
    /// # Errors
    /// When an input has the wrong length, or the network failed on one of them.
    pub async fn embed_query(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.send(|queues| &queues.queries, inputs).await
    }

    /// Embeds pictures when no query waits. One vector per input, in their order; each of the
    /// model's dimension, finite, of unit length. Waits while the queue is full.
    ///
    /// # Errors
    /// When an input has the wrong length, or the network failed on one of them.
    pub async fn embed(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.send(|queues| &queues.images, inputs).await
    }

    async fn send(
        &self,
        queue: impl Fn(&Queues) -> &mpsc::Sender<Job>,
        inputs: Vec<Input>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let expected = self.description.input_bytes();
        if let Some(wrong) = inputs.iter().find(|input| input.len() != expected) {
            return Err(Error::WrongInput {
                model: self.description.name.clone(),
                found: wrong.len(),
                expected,
                side: self.description.side(),
            });
        }
        let queue = queue(self.queues.as_ref().ok_or(Error::Stopped)?);
        let mut vectors = Vec::with_capacity(inputs.len());
        let mut answers = Vec::new();
        let mut inputs = inputs.into_iter();
        loop {
            let part: Vec<Input> = inputs.by_ref().take(self.batch_images).collect();
            if part.is_empty() {
                break;
            }
            let (reply, answer) = oneshot::channel();
            let job = Job {
                inputs: part,
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
            self.description.name, self.description.dimension, self.device_label, self.device_words
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
struct Queue {
    receiver: mpsc::Receiver<Job>,
    held_back: Option<Job>,
    /// Every sender is gone.
    ended: bool,
}

impl Queue {
    fn new(receiver: mpsc::Receiver<Job>) -> Self {
        Self {
            receiver,
            held_back: None,
            ended: false,
        }
    }

    /// The next job whose sender still waits, if one is there now.
    fn next(&mut self) -> Option<Job> {
        loop {
            let job = match self.held_back.take() {
                Some(job) => job,
                None => match self.receiver.try_recv() {
                    Ok(job) => job,
                    Err(mpsc::error::TryRecvError::Empty) => return None,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.ended = true;
                        return None;
                    }
                },
            };
            if !job.reply.is_closed() {
                return Some(job);
            }
        }
    }

    /// What waits now, up to `max_images`, but at least one job.
    fn batch(&mut self, max_images: usize) -> Vec<Job> {
        let mut batch = Vec::new();
        let mut images = 0;
        while let Some(job) = self.next() {
            if !batch.is_empty() && images + job.inputs.len() > max_images {
                self.held_back = Some(job);
                break;
            }
            images += job.inputs.len();
            batch.push(job);
        }
        batch
    }
}

type Run = Box<dyn Fn(&[u8], usize) -> Vec<f32> + Send>;

/// What lives on the device thread.
struct Worker {
    /// The whole network: pixels of a batch → its vectors, joined.
    run: Run,
    dimension: usize,
    batch_images: usize,
    /// A picture that the network embeds if the device works.
    trial: Input,
    queries: Queue,
    images: Queue,
}

impl Worker {
    fn work(mut self) {
        // Only for waiting on two queues at once.
        let runtime = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the device thread can not wait for work and ends");
                return;
            }
        };
        loop {
            let mut batch = self.queries.batch(self.batch_images);
            if batch.is_empty() {
                batch = self.images.batch(self.batch_images);
            }
            if !batch.is_empty() {
                self.answer(batch);
            } else if self.queries.ended && self.images.ended {
                return;
            } else {
                runtime.block_on(self.wait());
            }
        }
    }

    /// Until something arrives, or a queue ends.
    async fn wait(&mut self) {
        tokio::select! {
            biased;
            job = self.queries.receiver.recv(), if !self.queries.ended => match job {
                Some(job) => self.queries.held_back = Some(job),
                None => self.queries.ended = true,
            },
            job = self.images.receiver.recv(), if !self.images.ended => match job {
                Some(job) => self.images.held_back = Some(job),
                None => self.images.ended = true,
            },
        }
    }

    fn answer(&self, batch: Vec<Job>) {
        let mut inputs = Vec::new();
        let mut waiting = Vec::new();
        for job in batch {
            waiting.push((job.inputs.len(), job.reply));
            inputs.extend(job.inputs);
        }
        let results = self.embed_each(&inputs);
        assert_eq!(results.len(), inputs.len(), "one result for each input");
        let mut results = results.into_iter();
        for (count, reply) in waiting {
            // All of a request's own results are taken, also behind a failed one: the next
            // request's begin where they end.
            let own: Vec<Result<Vec<f32>, Error>> = results.by_ref().take(count).collect();
            // A sender that has left needs no answer.
            let _ = reply.send(own.into_iter().collect());
        }
    }

    /// One checked vector, or why there is none, for each input. A batch that fails is split, so
    /// that nobody fails for another's sake. Where the device is broken, none of a batch's vectors
    /// is believed.
    fn embed_each(&self, inputs: &[Input]) -> Vec<Result<Vec<f32>, Error>> {
        let error = match self.embed(inputs) {
            Ok(vectors) => {
                let checked: Vec<Result<Vec<f32>, Error>> = vectors
                    .into_iter()
                    .map(|vector| check(&vector).map(|()| vector))
                    .collect();
                let wrong = checked.iter().find_map(|one| one.as_ref().err());
                return match wrong.and_then(|error| self.device_problem(error)) {
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
            let mut results = self.embed_each(first);
            results.extend(self.embed_each(second));
            return results;
        }
        vec![Err(match self.device_problem(&error) {
            None => error,
            Some(problem) => Error::Broken { problem },
        })]
    }

    /// What is wrong with the device, if this error is not the pictures' fault.
    fn device_problem(&self, error: &Error) -> Option<String> {
        let trial = self.try_out().err()?;
        tracing::error!(%error, %trial, "the device fails on the trial picture too");
        Some(error.to_string())
    }

    /// Whether the device works, found out by one picture.
    fn try_out(&self) -> Result<(), Error> {
        let vectors = self.embed(std::slice::from_ref(&self.trial))?;
        check(&vectors[0])
    }

    /// Runs the network; one vector per input, of the right length, otherwise unchecked.
    fn embed(&self, inputs: &[Input]) -> Result<Vec<Vec<f32>>, Error> {
        let batch = inputs.len();
        let pixels = inputs.concat();
        BATCH_SIZE.observe(batch as f64);
        let start = Instant::now();
        // The network keeps no state between batches, so it is as good after a panic as before.
        let vectors = std::panic::catch_unwind(AssertUnwindSafe(|| (self.run)(&pixels, batch)))
            .map_err(|panic| Error::Network {
                batch_images: batch,
                problem: panic_message(&*panic),
            })?;
        STAGE_SECONDS
            .with_label_values(&["network"])
            .observe(start.elapsed().as_secs_f64());
        if vectors.len() != batch * self.dimension {
            return Err(Error::BadVector {
                problem: format!(
                    "{} numbers for {batch} images of dimension {}",
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
fn check(vector: &[f32]) -> Result<(), Error> {
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
