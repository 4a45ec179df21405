//! Runs a network on its device, on one thread that owns both.
//!
//! Three bounded queues lead to the thread. Queries (images and texts) take precedence: when the
//! device is free, the waiting queries form the next batch, and only without queries the images to
//! index do. A batch contains what is waiting now, up to the limit; the thread never waits for a batch
//! to fill up.
//!
//! Every request carries its own reply channel, so vectors cannot be mixed up. Requests whose sender is
//! gone are skipped. A batch that panics is bisected until only the failing images fail. A trial image
//! decides whether the images or the device are at fault, also if the network returned something
//! other than unit vectors.

mod device;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::{sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use self::{
    device::SelectedDevice,
    queue::{EmbedJob, JobQueue},
    worker::DeviceWorker,
};
use crate::{
    error::Error,
    metrics::DEVICE_INFO,
    model::Model,
    model::description::Description,
    model::golden::{MIN_GOLDEN_COSINE, check_golden_vector},
    network::Network,
    preprocess::Input,
    settings::Settings,
};

/// A running network. Dropping it ends the thread after the current batch.
#[derive(Debug)]
pub struct Engine {
    description: Description,
    batch_images: usize,
    device_description: String,
    device_label: &'static str,
    golden: Vec<f32>,
    /// `None` only during the drop.
    queues: Option<JobQueues>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct JobQueues {
    queries: mpsc::Sender<EmbedJob<Input>>,
    texts: mpsc::Sender<EmbedJob<String>>,
    images: mpsc::Sender<EmbedJob<Input>>,
}

impl Engine {
    /// Moves the model to the device of the settings and embeds a trial image and the golden picture.
    /// Blocks meanwhile: a fraction of a second for the default model on a CPU.
    ///
    /// # Errors
    /// Fails if the device is not available, the weights do not fit the network, the trial fails, or
    /// the golden vector differs from the expected one.
    pub fn start(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let SelectedDevice {
            executor,
            label,
            description: device_description,
        } = device::select_device(&settings.device, settings.kernels)?;
        let network = Arc::new(Network::from_model(model, &executor)?);
        let text_network = Arc::clone(&network);
        let batch_images = settings.batch_images.max(1);
        let (queries, query_receiver) = mpsc::channel(settings.max_queued_queries.max(1));
        let (texts, text_receiver) = mpsc::channel(settings.max_queued_queries.max(1));
        let (images, image_receiver) = mpsc::channel(settings.max_queued_batches.max(1));
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
                // The receiver waits for this message.
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
            check_golden_vector(expected, &golden).map_err(|cosine| Error::Golden {
                model: description.name.clone(),
                device: device_description.clone(),
                cosine,
                min_cosine: MIN_GOLDEN_COSINE,
            })?;
        }
        DEVICE_INFO
            .with_label_values(&[label, &description.name])
            .set(1);
        Ok(Self {
            description,
            batch_images,
            device_description,
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

    /// Embeds query images before everything that [`embed_images`](Self::embed_images) has queued.
    /// Returns one vector per input, in their order, finite, of unit length and of the model's
    /// dimension.
    ///
    /// # Errors
    /// Fails if an input has the wrong length, or if the network failed on one of them.
    pub async fn embed_query(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        self.submit_inputs(|queues| &queues.queries, inputs).await
    }

    /// Embeds images while no query is waiting, and waits while the queue is full. Returns one vector
    /// per input, in their order, finite, of unit length and of the model's dimension.
    ///
    /// # Errors
    /// Fails if an input has the wrong length, or if the network failed on one of them.
    pub async fn embed_images(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        self.submit_inputs(|queues| &queues.images, inputs).await
    }

    /// Embeds texts before everything that [`embed_images`](Self::embed_images) has queued. Returns
    /// one vector per text, in their order, finite, of unit length and in the same space as images.
    ///
    /// # Errors
    /// Fails with [`Error::NoText`] if the model has no text encoder
    /// ([`has_text`](Description::has_text)), or if the network failed on one of the texts.
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
                bytes: wrong.len(),
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
        let mut receivers = Vec::new();
        let mut inputs = inputs.into_iter();
        loop {
            let chunk: Vec<T> = inputs.by_ref().take(self.batch_images).collect();
            if chunk.is_empty() {
                break;
            }
            let (reply, receiver) = oneshot::channel();
            let job = EmbedJob {
                inputs: chunk,
                reply,
            };
            queue.send(job).await.map_err(|_| Error::Stopped)?;
            receivers.push(receiver);
        }
        for receiver in receivers {
            vectors.extend(receiver.await.map_err(|_| Error::Stopped)??);
        }
        Ok(vectors)
    }

    /// Returns the vector of the golden picture on this device. It must equal that of any other device
    /// with the same model, or one of them must not be used.
    pub fn golden(&self) -> &[f32] {
        &self.golden
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns `cpu`, `cuda` or `vulkan`.
    pub fn device_label(&self) -> &'static str {
        self.device_label
    }

    /// Returns one line for logs with model, device and the reason for it, such as `lookalike-mini
    /// (384 numbers) on cpu: own kernels, avx512, 2 threads; no GPU support in this build`.
    pub fn describe_device(&self) -> String {
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
            // The senders of queued requests are gone, so the requests are skipped: this waits for
            // at most one batch.
            if thread.join().is_err() {
                tracing::error!("the device thread panicked");
            }
        }
        DEVICE_INFO
            .with_label_values(&[self.device_label, &self.description.name])
            .set(0);
    }
}
