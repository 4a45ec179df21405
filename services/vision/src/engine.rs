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

use std::{panic::AssertUnwindSafe, sync::Arc, thread::JoinHandle, time::Instant};

use lookalike_chassis::metrics::STAGE_SECONDS;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Settings,
    decode::panic_message,
    description::Description,
    device::{self, Chosen},
    error::Error,
    golden,
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
    golden: Vec<f32>,
    /// `None` only while dropping.
    queues: Option<Queues>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    queries: mpsc::Sender<Job<Input>>,
    texts: mpsc::Sender<Job<String>>,
    images: mpsc::Sender<Job<Input>>,
}

/// Pictures, or texts, that are answered together; never more than one batch.
#[derive(Debug)]
struct Job<T> {
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
        let Chosen {
            device,
            label,
            words,
        } = device::choose(&settings.device)?;
        let network = Arc::new(Network::load(model, &device)?);
        let text_network = Arc::clone(&network);
        let batch_images = settings.batch_images.max(1);
        let (queries, query_receiver) = mpsc::channel(settings.queue_queries.max(1));
        let (texts, text_receiver) = mpsc::channel(settings.queue_queries.max(1));
        let (images, image_receiver) = mpsc::channel(settings.queue_batches.max(1));
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let description = model.description.clone();
        let (side, has_text) = (description.side(), description.has_text());
        let worker = Worker {
            run: Box::new(move |pixels, batch| network.forward(pixels, batch)),
            run_texts: Box::new(move |texts| text_network.forward_texts(texts)),
            dimension: description.dimension,
            batch_images,
            trial: vec![128; description.input_bytes()].into_boxed_slice(),
            queries: Queue::new(query_receiver),
            texts: Queue::new(text_receiver),
            images: Queue::new(image_receiver),
        };
        let thread = std::thread::Builder::new()
            .name("vision-device".to_owned())
            .spawn(move || {
                let result = worker
                    .try_out()
                    .and_then(|()| worker.try_out_texts(has_text))
                    .and_then(|()| worker.embed_golden(side));
                let works = result.is_ok();
                // The receiver waits for exactly this message.
                let _ = ready.send(result);
                if works {
                    worker.work();
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
            golden::compare(expected, &golden, &description.name, &words)?;
        }
        DEVICE_INFO
            .with_label_values(&[label, &description.name])
            .set(1);
        Ok(Self {
            description,
            batch_images,
            device_words: words,
            device_label: label,
            golden,
            queues: Some(Queues {
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
        self.send(|queues| &queues.queries, inputs).await
    }

    /// Embeds pictures when no query waits. One vector per input, in their order; each of the
    /// model's dimension, finite, of unit length. Waits while the queue is full.
    ///
    /// # Errors
    /// When an input has the wrong length, or the network failed on one of them.
    pub async fn embed(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        self.send(|queues| &queues.images, inputs).await
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
        self.send(|queues| &queues.texts, texts).await
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

    async fn send<T>(
        &self,
        queue: impl Fn(&Queues) -> &mpsc::Sender<Job<T>>,
        inputs: Vec<T>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let queue = queue(self.queues.as_ref().ok_or(Error::Stopped)?);
        let mut vectors = Vec::with_capacity(inputs.len());
        let mut answers = Vec::new();
        let mut inputs = inputs.into_iter();
        loop {
            let part: Vec<T> = inputs.by_ref().take(self.batch_images).collect();
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
struct Queue<T> {
    receiver: mpsc::Receiver<Job<T>>,
    held_back: Option<Job<T>>,
    /// Every sender is gone.
    ended: bool,
}

impl<T> Queue<T> {
    fn new(receiver: mpsc::Receiver<Job<T>>) -> Self {
        Self {
            receiver,
            held_back: None,
            ended: false,
        }
    }

    /// The next job whose sender still waits, if one is there now.
    fn next(&mut self) -> Option<Job<T>> {
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

    /// What waits now, up to `max_inputs`, but at least one job.
    fn batch(&mut self, max_inputs: usize) -> Vec<Job<T>> {
        let mut batch = Vec::new();
        let mut inputs = 0;
        while let Some(job) = self.next() {
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
    async fn wait(&mut self) {
        match self.receiver.recv().await {
            Some(job) => self.held_back = Some(job),
            None => self.ended = true,
        }
    }
}

type Run = Box<dyn Fn(&[u8], usize) -> Vec<f32> + Send>;
type RunTexts = Box<dyn Fn(&[String]) -> Result<Vec<f32>, Error> + Send>;

/// Runs a batch: one vector for each input, or why there is none.
type Embed<'a, T> = &'a dyn Fn(&[T]) -> Result<Vec<Vec<f32>>, Error>;

/// What lives on the device thread.
struct Worker {
    /// The whole network: pixels of a batch → its vectors, joined.
    run: Run,
    /// The same for texts.
    run_texts: RunTexts,
    dimension: usize,
    batch_images: usize,
    /// A picture that the network embeds if the device works.
    trial: Input,
    queries: Queue<Input>,
    texts: Queue<String>,
    images: Queue<Input>,
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
            let queries = self.queries.batch(self.batch_images);
            let texts = self.texts.batch(self.batch_images);
            if !queries.is_empty() || !texts.is_empty() {
                self.answer(queries, &|inputs| self.embed(inputs));
                self.answer(texts, &|texts| self.embed_texts(texts));
                continue;
            }
            let images = self.images.batch(self.batch_images);
            if !images.is_empty() {
                self.answer(images, &|inputs| self.embed(inputs));
            } else if self.queries.ended && self.texts.ended && self.images.ended {
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
            () = self.queries.wait(), if !self.queries.ended => {}
            () = self.texts.wait(), if !self.texts.ended => {}
            () = self.images.wait(), if !self.images.ended => {}
        }
    }

    fn answer<T>(&self, batch: Vec<Job<T>>, run: Embed<'_, T>) {
        if batch.is_empty() {
            return;
        }
        let mut inputs = Vec::new();
        let mut waiting = Vec::new();
        for job in batch {
            waiting.push((job.inputs.len(), job.reply));
            inputs.extend(job.inputs);
        }
        let results = self.embed_each(&inputs, run);
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
    fn embed_each<T>(&self, inputs: &[T], run: Embed<'_, T>) -> Vec<Result<Vec<f32>, Error>> {
        let error = match run(inputs) {
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
            let mut results = self.embed_each(first, run);
            results.extend(self.embed_each(second, run));
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

    /// Whether the device works for texts as well, where the model takes them.
    fn try_out_texts(&self, has_text: bool) -> Result<(), Error> {
        if !has_text {
            return Ok(());
        }
        let vectors = self.embed_texts(&["a picture".to_owned()])?;
        check(&vectors[0])
    }

    /// Embeds the golden picture.
    fn embed_golden(&self, side: u32) -> Result<Vec<f32>, Error> {
        let vectors = self.embed(&[golden::picture(side)])?;
        let vector = vectors.into_iter().next().ok_or(Error::Stopped)?;
        check(&vector)?;
        Ok(vector)
    }

    /// Runs the network; one vector per input, of the right length, otherwise unchecked.
    fn embed(&self, inputs: &[Input]) -> Result<Vec<Vec<f32>>, Error> {
        let batch = inputs.len();
        let pixels = inputs.concat();
        self.observed(batch, || Ok((self.run)(&pixels, batch)))
    }

    /// The same for texts.
    fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        self.observed(texts.len(), || (self.run_texts)(texts))
    }

    /// Measures a batch, catches its panic, and takes its vectors apart.
    fn observed(
        &self,
        batch: usize,
        run: impl FnOnce() -> Result<Vec<f32>, Error>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        BATCH_SIZE.observe(batch as f64);
        let start = Instant::now();
        // The network keeps no state between batches, so it is as good after a panic as before.
        let vectors =
            std::panic::catch_unwind(AssertUnwindSafe(run)).map_err(|panic| Error::Network {
                batch_images: batch,
                problem: panic_message(&*panic),
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
