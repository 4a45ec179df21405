//! One thread that owns the network and its device.
//!
//! Two bounded queues lead to it. Queries always go ahead: whenever the device is free, waiting
//! queries form the next batch, and only when there are none the images to index do. A batch is
//! what is waiting at that moment, up to the limit; nothing waits for a batch to fill up.
//!
//! Pictures and vectors never mix: every request carries its own way back, a request whose sender
//! has gone is skipped, and a batch that brings the network down is split until only the pictures
//! that do so fail. Whether it is them or the device, a trial picture tells.

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
    /// that nobody fails for another's sake.
    fn embed_each(&self, inputs: &[Input]) -> Vec<Result<Vec<f32>, Error>> {
        let error = match self.embed(inputs) {
            Ok(vectors) => {
                let checked = vectors
                    .into_iter()
                    .map(|vector| check(&vector).map(|()| vector));
                return checked.collect();
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
        let error = match self.try_out() {
            Ok(()) => error,
            Err(trial) => {
                tracing::error!(%error, %trial, "the device fails on the trial picture too");
                Error::Broken {
                    problem: error.to_string(),
                }
            }
        };
        vec![Err(error)]
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
mod tests {
    use super::*;
    use std::sync::{Arc, Condvar, Mutex};

    const SIDE_BYTES: usize = 16 * 16 * 3;

    /// What the stand-in network was given, and whether it may go on.
    #[derive(Default)]
    struct Gate {
        state: Mutex<(bool, Vec<Vec<u8>>)>,
        changed: Condvar,
    }

    impl Gate {
        fn open(&self) {
            self.state.lock().unwrap().0 = true;
            self.changed.notify_all();
        }

        fn batches(&self) -> Vec<Vec<u8>> {
            self.state.lock().unwrap().1.clone()
        }
    }

    /// An engine whose network notes the first byte of every picture, waits for the gate, and
    /// gives the unit vector of axis `byte % 4`; 13 panics, 66 gives NaN, after 99 all panics.
    fn engine(batch_images: usize, gate: &Arc<Gate>) -> Engine {
        let gate = Arc::clone(gate);
        let is_dead = std::sync::atomic::AtomicBool::new(false);
        let run = move |pixels: &[u8], _batch: usize| {
            let firsts: Vec<u8> = pixels.chunks_exact(SIDE_BYTES).map(|p| p[0]).collect();
            let mut state = gate.state.lock().unwrap();
            state.1.push(firsts.clone());
            gate.changed.notify_all();
            while !state.0 {
                state = gate.changed.wait(state).unwrap();
            }
            drop(state);
            assert!(!firsts.contains(&13), "unlucky");
            is_dead.fetch_or(firsts.contains(&99), std::sync::atomic::Ordering::Relaxed);
            assert!(!is_dead.load(std::sync::atomic::Ordering::Relaxed), "dead");
            let mut vectors = vec![0.0; firsts.len() * 4];
            for (i, first) in firsts.iter().enumerate() {
                vectors[i * 4 + usize::from(first % 4)] = if *first == 66 { f32::NAN } else { 1.0 };
            }
            vectors
        };
        let (queries, query_receiver) = mpsc::channel(64);
        let (images, image_receiver) = mpsc::channel(64);
        let worker = Worker {
            run: Box::new(run),
            dimension: 4,
            batch_images,
            trial: inputs(&[128]).remove(0),
            queries: Queue::new(query_receiver),
            images: Queue::new(image_receiver),
        };
        let mut description = Description::bundled("lookalike-mini").unwrap();
        description.dimension = 4;
        description.input = [3, 16, 16];
        description.preprocessing.crop = [16, 16];
        Engine {
            description,
            batch_images,
            device_words: "stand-in".to_owned(),
            device_label: "cpu",
            queues: Some(Queues { queries, images }),
            thread: Some(std::thread::spawn(move || worker.work())),
        }
    }

    fn inputs(firsts: &[u8]) -> Vec<Input> {
        firsts
            .iter()
            .map(|first| vec![*first; SIDE_BYTES].into_boxed_slice())
            .collect()
    }

    /// The axis of each vector: which picture it belongs to.
    fn axes(vectors: &[Vec<f32>]) -> Vec<u8> {
        vectors
            .iter()
            .map(|vector| vector.iter().position(|value| *value == 1.0).unwrap() as u8)
            .collect()
    }

    #[tokio::test]
    async fn queries_go_ahead_and_batches_fill() {
        let gate = Arc::new(Gate::default());
        let engine = engine(4, &gate);
        // The device is busy with the first picture while everything else arrives.
        let busy = engine.embed(inputs(&[0]));
        let bulk = async {
            while gate.batches().is_empty() {
                tokio::task::yield_now().await;
            }
            let (bulk, query, other) = tokio::join!(
                engine.embed(inputs(&[1, 2, 3, 4, 5, 6])),
                engine.embed_query(inputs(&[7])),
                async {
                    let both = engine.embed_query(inputs(&[8, 9]));
                    tokio::pin!(both);
                    // One poll puts the query into its queue; then the device may go on.
                    tokio::select! {
                        biased;
                        _ = &mut both => unreachable!("the gate is closed"),
                        () = tokio::task::yield_now() => gate.open(),
                    }
                    both.await
                },
            );
            assert_eq!(axes(&bulk.unwrap()), [1, 2, 3, 0, 1, 2]);
            assert_eq!(axes(&query.unwrap()), [3]);
            assert_eq!(axes(&other.unwrap()), [0, 1]);
        };
        let (first, ()) = tokio::join!(busy, bulk);
        assert_eq!(axes(&first.unwrap()), [0]);
        assert_eq!(
            gate.batches(),
            [vec![0], vec![7, 8, 9], vec![1, 2, 3, 4], vec![5, 6]]
        );
    }

    #[tokio::test]
    async fn failures_stay_with_their_batch() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let engine = engine(4, &gate);
        let error = engine.embed(inputs(&[13])).await.unwrap_err().to_string();
        assert!(error.contains("unlucky"), "{error}");
        assert!(matches!(
            engine.embed_query(inputs(&[66])).await,
            Err(Error::BadVector { .. })
        ));
        assert!(matches!(
            engine.embed(vec![vec![0; 5].into_boxed_slice()]).await,
            Err(Error::WrongInput { found: 5, .. })
        ));
        assert_eq!(axes(&engine.embed(inputs(&[2])).await.unwrap()), [2]);
        assert!(engine.embed(Vec::new()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failing_batch_is_split_and_nobody_gets_anothers_vector() {
        let gate = Arc::new(Gate::default());
        let engine = engine(8, &gate);
        let busy = engine.embed(inputs(&[0]));
        let others = async {
            while gate.batches().is_empty() {
                tokio::task::yield_now().await;
            }
            let jobs = async {
                tokio::join!(
                    engine.embed(inputs(&[1])),
                    // Fails within its request: what follows must not move up.
                    engine.embed(inputs(&[2, 13, 3])),
                    engine.embed(inputs(&[5])),
                    engine.embed(inputs(&[66])),
                    engine.embed(inputs(&[6, 7])),
                )
            };
            tokio::pin!(jobs);
            // One poll puts all of them into the queue; then the device may go on.
            tokio::select! {
                biased;
                _ = &mut jobs => unreachable!("the gate is closed"),
                () = tokio::task::yield_now() => gate.open(),
            }
            jobs.await
        };
        let (first, (one, bad, five, not_finite, last)) = tokio::join!(busy, others);
        assert_eq!(axes(&first.unwrap()), [0]);
        assert_eq!(axes(&one.unwrap()), [1]);
        assert!(matches!(
            bad,
            Err(Error::Network {
                batch_images: 1,
                ..
            })
        ));
        assert_eq!(axes(&five.unwrap()), [1]);
        assert!(matches!(not_finite, Err(Error::BadVector { .. })));
        assert_eq!(axes(&last.unwrap()), [2, 3]);
        assert_eq!(
            gate.batches()[1],
            [1, 2, 13, 3, 5, 66, 6, 7],
            "they were one batch"
        );
    }

    #[tokio::test]
    async fn a_broken_device_is_told_from_a_bad_picture() {
        let gate = Arc::new(Gate::default());
        gate.open();
        let engine = engine(4, &gate);
        let bad = engine.embed(inputs(&[13])).await;
        assert!(matches!(bad, Err(Error::Network { .. })), "{bad:?}");
        let last = engine.embed(inputs(&[1, 99])).await;
        assert!(matches!(last, Err(Error::Broken { .. })), "{last:?}");
        let after = engine.embed_query(inputs(&[1])).await;
        assert!(matches!(after, Err(Error::Broken { .. })), "{after:?}");
    }

    #[tokio::test]
    async fn requests_without_a_sender_are_skipped_and_dropping_ends_the_thread() {
        let gate = Arc::new(Gate::default());
        let engine = engine(1, &gate);
        {
            let abandoned = async {
                let _ = tokio::join!(engine.embed(inputs(&[0])), engine.embed(inputs(&[1])));
            };
            tokio::pin!(abandoned);
            while gate.batches().is_empty() {
                tokio::select! {
                    biased;
                    () = &mut abandoned => unreachable!("the gate is closed"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        gate.open();
        drop(engine);
        assert_eq!(gate.batches(), [vec![0]], "the second was never run");
    }

    #[test]
    fn only_unit_vectors_pass() {
        assert!(check(&[0.6, 0.8]).is_ok());
        for bad in [
            [0.6, 0.9],
            [0.0, 0.0],
            [f32::NAN, 1.0],
            [f32::INFINITY, 0.0],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
