//! Runs a network on one or several devices, each with a thread of its own.
//!
//! All devices share three bounded queues. Queries (images and texts) take precedence: a device that is
//! free takes the waiting queries as its next batch, and only without queries the images to index. A
//! batch contains what is waiting now, up to the limit of the device; no device waits for a batch to
//! fill up.
//!
//! Every request carries its own reply channel, so vectors cannot be mixed up. Requests whose sender is
//! gone are skipped. A batch that fails is bisected until only the failing images fail. A trial image
//! decides whether the images or the device are at fault, also if the network returned something
//! other than unit vectors. A device at fault leaves the [`pool`].
//!
//! - `request`, `select`: which devices.
//! - `backends`: lists devices and loads networks on them.
//! - `check`: compares the vectors of a device with those of the CPU.
//! - `queue`, `slot`, `pool`: the shared state.
//! - `worker`, `network`, `canary`, `batch_limit`: the thread of a device.

mod backends;
mod batch_limit;
mod canary;
mod check;
#[cfg(all(test, feature = "vulkan"))]
mod gpu_tests;
mod network;
mod pool;
mod queue;
mod request;
mod select;
mod slot;
#[cfg(test)]
mod tests;
mod worker;

use std::{sync::Arc, thread::JoinHandle, time::Duration};

pub use self::slot::{DeviceState, DeviceStatus};
use self::{
    backends::CpuNetwork,
    check::DeviceCheck,
    pool::{JobReceiver, Pool, PoolLimits},
    request::DeviceName,
    select::ChosenDevices,
    slot::DeviceSlot,
    worker::{DeviceOpener, DeviceWorker},
};
use crate::{
    error::Error,
    model::Model,
    model::description::Description,
    network::Executor,
    preprocess::Input,
    settings::{CpuKernels, Settings},
};

/// Delays before a device that failed is opened again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

/// The batch size that the queues are made for, if the settings do not state one.
const USUAL_BATCH: usize = 16;

/// A running network. Dropping it ends the threads after their current batches.
#[derive(Debug)]
pub struct Engine {
    description: Description,
    /// Why these devices.
    reason: String,
    golden: Vec<f32>,
    pool: Arc<Pool>,
    /// With the positions of their devices in the pool.
    threads: Vec<(usize, JoinHandle<()>)>,
}

/// The devices of a pool and how to open them.
struct PoolPlan {
    /// With whether the device is the last resort.
    openers: Vec<(DeviceOpener, bool)>,
    check: DeviceCheck,
    /// Whether the start fails if no device but the last resort works.
    needs_member: bool,
    reason: String,
    batch_images: usize,
    limits: PoolLimits,
}

impl Engine {
    /// Loads the model on the devices of the settings, and checks their vectors. Blocks meanwhile: a
    /// fraction of a second for the default model on a CPU.
    ///
    /// # Errors
    /// Fails if a device of the settings is not there, or if no device works: the weights do not fit
    /// the network, the trial fails, or the vectors differ from the expected ones.
    pub fn start(model: &Model, settings: &Settings) -> Result<Self, Error> {
        let chosen = choose_devices(settings)?;
        let model = Arc::new(model.clone());
        let plan = plan_pool(chosen, &model, settings)?;
        Self::start_pool(model.description.clone(), plan)
    }

    /// Checks that the devices of the settings are there, without opening them, and that the CPU
    /// supports the kernels of the settings.
    ///
    /// # Errors
    /// Fails with [`Error::Device`] or [`Error::Kernels`], which list the valid values.
    pub fn check_devices(settings: &Settings) -> Result<(), Error> {
        choose_devices(settings).map(|_| ())
    }

    /// Returns the names of the devices that the settings select on this machine, and why, without
    /// opening them.
    ///
    /// # Errors
    /// Like [`Self::check_devices`].
    pub fn describe_devices(settings: &Settings) -> Result<(Vec<String>, String), Error> {
        let chosen = choose_devices(settings)?;
        let names = chosen.members.iter().map(ToString::to_string);
        Ok((names.collect(), chosen.reason))
    }

    fn start_pool(description: Description, plan: PoolPlan) -> Result<Self, Error> {
        let slots = plan.openers.iter().map(|(opener, is_last_resort)| {
            DeviceSlot::new(opener.name, *is_last_resort, &description.name)
        });
        let pool = Arc::new(Pool::new(slots.collect(), plan.limits));
        let check = Arc::new(plan.check);
        let reference = check.reference().map(|reference| reference.golden.clone());
        let mut engine = Self {
            description,
            reason: plan.reason,
            golden: Vec::new(),
            pool: Arc::clone(&pool),
            threads: Vec::new(),
        };
        for (device, (opener, _)) in plan.openers.into_iter().enumerate() {
            let name = format!("device-{}", opener.name);
            let worker = DeviceWorker {
                device,
                pool: Arc::clone(&pool),
                opener,
                check: Arc::clone(&check),
                batch_images: plan.batch_images,
            };
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || worker.run_until_closed());
            match thread {
                Ok(thread) => engine.threads.push((device, thread)),
                Err(error) => {
                    pool.mark_ended(device);
                    pool.mark_failed(device, Error::StartThread(error));
                }
            }
        }
        pool.wait_until_opened(plan.needs_member)?;
        let of_first = || pool.inspect(|slots| slots.iter().find_map(|slot| slot.golden.clone()));
        engine.golden = reference.or_else(of_first).unwrap_or_default();
        Ok(engine)
    }

    /// Embeds query images before everything that [`embed_images`](Self::embed_images) has queued.
    /// Returns one vector per input, in their order, finite, of unit length and of the model's
    /// dimension.
    ///
    /// # Errors
    /// Fails if an input has the wrong length, if the network failed on one of them, or if no device
    /// works.
    pub async fn embed_query(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        let mut receivers = Vec::new();
        for chunk in self.split_inputs(inputs) {
            receivers.push(self.pool.submit_query(chunk).await?);
        }
        receive_all(receivers).await
    }

    /// Embeds images while no query is waiting, and waits while the queue is full. Returns one vector
    /// per input, in their order, finite, of unit length and of the model's dimension.
    ///
    /// # Errors
    /// As [`embed_query`](Self::embed_query).
    pub async fn embed_images(&self, inputs: Vec<Input>) -> Result<Vec<Vec<f32>>, Error> {
        self.check_inputs(&inputs)?;
        let mut receivers = Vec::new();
        for chunk in self.split_inputs(inputs) {
            receivers.push(self.pool.submit_images(chunk).await?);
        }
        receive_all(receivers).await
    }

    /// Embeds texts before everything that [`embed_images`](Self::embed_images) has queued. Returns
    /// one vector per text, in their order, finite, of unit length and in the same space as images.
    ///
    /// # Errors
    /// Fails with [`Error::NoText`] if the model has no text encoder
    /// ([`has_text`](Description::has_text)), if the network failed on one of the texts, or if no
    /// device works.
    pub async fn embed_text(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        if !self.description.has_text() {
            return Err(Error::NoText {
                model: self.description.name.clone(),
            });
        }
        let mut receivers = Vec::new();
        for chunk in self.split_inputs(texts) {
            receivers.push(self.pool.submit_texts(chunk).await?);
        }
        receive_all(receivers).await
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

    /// Splits inputs into jobs of at most one batch.
    fn split_inputs<T>(&self, inputs: Vec<T>) -> Vec<Vec<T>> {
        let max_inputs = self.batch_images();
        let mut inputs = inputs.into_iter();
        std::iter::from_fn(|| {
            let chunk: Vec<T> = inputs.by_ref().take(max_inputs).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
        .collect()
    }

    /// Returns the vector of the golden picture, computed on the CPU if there is a GPU to compare.
    /// Every device in use computes nearly the same.
    pub fn golden(&self) -> &[f32] {
        &self.golden
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the most images of one run on any device at present; at least 1.
    pub fn batch_images(&self) -> usize {
        let max_batch = |slots: &[DeviceSlot]| slots.iter().map(DeviceSlot::max_images).max();
        self.pool.inspect(max_batch).unwrap_or(1).max(1)
    }

    /// Returns the state of each device.
    pub fn device_statuses(&self) -> Vec<DeviceStatus> {
        self.pool.statuses()
    }

    /// Returns one line with the model, its devices and the reason for them, such as `lookalike-mini
    /// (384 numbers) on cpu: own kernels, avx512, 2 threads; no GPU support in this build`. The line
    /// changes when a device fails or works again.
    pub fn describe_device(&self) -> String {
        let statuses = self.device_statuses();
        let working = statuses
            .iter()
            .filter(|status| status.state == DeviceState::Ready);
        let names: Vec<&str> = working.clone().map(|status| &*status.device).collect();
        let details: Vec<&str> = working.map(|status| &*status.description).collect();
        let mut line = format!(
            "{} ({} numbers) on {}: {}; {}",
            self.description.name,
            self.description.dimension,
            if names.is_empty() {
                "no device".to_owned()
            } else {
                names.join(", ")
            },
            details.join(" + "),
            self.reason
        );
        for status in &statuses {
            if let Some(problem) = &status.problem {
                line += &format!("; {} failed and is retried: {problem}", status.device);
            }
        }
        line
    }
}

fn choose_devices(settings: &Settings) -> Result<ChosenDevices, Error> {
    // The CPU is needed for GPUs as well: to check their vectors, and as the last resort.
    Executor::for_cpu(settings.kernels)?;
    select::choose_devices(
        &settings.device,
        &backends::list_gpus(),
        select::BUILT_KINDS,
        settings.cpu_fallback,
    )
}

async fn receive_all(receivers: Vec<JobReceiver>) -> Result<Vec<Vec<f32>>, Error> {
    let mut vectors = Vec::new();
    for receiver in receivers {
        vectors.extend(receiver.await.map_err(|_| Error::Stopped)??);
    }
    Ok(vectors)
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The senders of queued requests are gone, so this waits for at most one batch, and for a
        // GPU only a limited time.
        let have_ended = self.pool.close();
        for (device, thread) in self.threads.drain(..) {
            if !have_ended[device] {
                tracing::warn!("a device hangs or is slow; its thread is left behind");
            } else if thread.join().is_err() {
                tracing::error!("a device thread panicked");
            }
        }
        self.pool
            .inspect(|slots| slots.iter().for_each(DeviceSlot::retract_state));
    }
}

/// Plans the pool of the chosen devices. With a GPU among them, first computes the vectors that it must
/// compute: with burn on the CPU, in single precision.
fn plan_pool(
    chosen: ChosenDevices,
    model: &Arc<Model>,
    settings: &Settings,
) -> Result<PoolPlan, Error> {
    let cpu = Arc::new(CpuNetwork::new(model, settings.kernels)?);
    let mut check = DeviceCheck::new(&model.description, model.golden.clone());
    if chosen.members.iter().any(|name| *name != DeviceName::CPU) {
        let reference = CpuNetwork::new(model, CpuKernels::Flex)?;
        check = check.with_reference(&reference.open()?)?;
    }
    let members = chosen.members.iter().map(|name| (*name, false));
    let last_resort = chosen.has_last_resort.then_some((DeviceName::CPU, true));
    let openers = members
        .chain(last_resort)
        .map(|(name, is_last_resort)| (backends::opener(name, &cpu, model), is_last_resort));
    let usual_batch = match settings.batch_images {
        0 => USUAL_BATCH,
        images => images,
    };
    let batches = settings.max_queued_batches.max(1) * chosen.members.len();
    Ok(PoolPlan {
        openers: openers.collect(),
        check,
        needs_member: chosen.needs_member,
        reason: chosen.reason,
        batch_images: settings.batch_images,
        limits: PoolLimits {
            retry_delay: RETRY_DELAY,
            max_retry_delay: MAX_RETRY_DELAY,
            batch_timeout: settings.device_timeout,
            max_queued_queries: settings.max_queued_queries.max(1),
            max_queued_images: batches * usual_batch,
        },
    })
}
