//! The thread of one device: opens and checks the device, runs batches, and reports failures.

use std::{panic::AssertUnwindSafe, sync::Arc};

use super::{
    batch_limit::BatchLimit,
    check::DeviceCheck,
    network::{BatchResults, DeviceFailure, DeviceNetwork, Urgency},
    pool::{DeviceTask, OpenedDevice, Pool, Work},
    queue::{BatchInputs, BatchSize},
    request::DeviceName,
};
use crate::{error::Error, network::Precision, panics::panic_message};

/// Most images of one run on a GPU: larger batches do not make a GPU faster.
const MAX_GPU_BATCH: usize = 64;

/// Images of the run that shows how much memory an image needs.
const TRIAL_BATCH: usize = 8;

type OpenNetwork = Box<dyn Fn(Precision) -> Result<DeviceNetwork, Error> + Send>;

/// How to load the network on a device.
pub(super) struct DeviceOpener {
    pub name: DeviceName,
    /// The precisions to try, best first. The first whose vectors are right is used.
    pub precisions: Vec<Precision>,
    pub open: OpenNetwork,
}

/// State of a device's thread.
pub(super) struct DeviceWorker {
    pub device: usize,
    pub pool: Arc<Pool>,
    pub opener: DeviceOpener,
    pub check: Arc<DeviceCheck>,
    /// `batch_images` of the settings; 0 lets the device decide.
    pub batch_images: usize,
}

/// Tells the pool when the thread ends, also by a panic.
struct ThreadEndGuard {
    device: usize,
    pool: Arc<Pool>,
}

impl Drop for ThreadEndGuard {
    fn drop(&mut self) {
        self.pool.mark_ended(self.device);
    }
}

/// An opened device with its current batch limit.
struct OpenNetworkState {
    network: DeviceNetwork,
    limit: BatchLimit,
}

impl DeviceWorker {
    pub(super) fn run_until_closed(self) {
        let _end = ThreadEndGuard {
            device: self.device,
            pool: Arc::clone(&self.pool),
        };
        let mut opened: Option<OpenNetworkState> = None;
        // What a device learned about its batches is kept when it is opened again.
        let mut last_limit: Option<BatchLimit> = None;
        loop {
            match self.pool.wait_for_task(self.device) {
                DeviceTask::Close => return,
                DeviceTask::Open => {
                    // The old network goes first: a device may lack the memory for two.
                    last_limit = opened.take().map(|state| state.limit).or(last_limit);
                    opened = self.open(last_limit.clone());
                }
                DeviceTask::Run(work) => {
                    let Some(state) = &mut opened else {
                        let problem = "the device is not open".to_owned();
                        self.pool.fail(self.device, work.number, problem);
                        continue;
                    };
                    if let Err(failure) = self.run_work(state, work) {
                        last_limit = opened.take().map(|state| state.limit);
                        tracing::debug!(device = %self.opener.name, failure, "closed the device");
                    }
                }
            }
        }
    }

    /// Opens and checks the device, and reports the result to the pool.
    fn open(&self, last_limit: Option<BatchLimit>) -> Option<OpenNetworkState> {
        // Unwind safe: what the panic interrupted is dropped.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| self.open_best_precision()));
        let result = result.unwrap_or_else(|panic| {
            Err(Error::Warmup {
                problem: panic_message(&*panic),
            })
        });
        let (network, golden, max_batch) = match result {
            Ok(opened) => opened,
            Err(error) => {
                self.pool.mark_failed(self.device, error);
                return None;
            }
        };
        let mut limit = last_limit.unwrap_or_else(|| BatchLimit::new(max_batch));
        limit.set_max(max_batch);
        let opened = OpenedDevice {
            description: network.description.clone(),
            golden,
            max_batch: limit.images(),
            has_power_of_two: network.has_power_of_two,
            has_canary: network.has_canary,
        };
        self.pool.mark_ready(self.device, opened);
        Some(OpenNetworkState { network, limit })
    }

    /// Returns the network in the first precision whose vectors are right, its golden vector and the
    /// most images of one run.
    fn open_best_precision(&self) -> Result<(DeviceNetwork, Vec<f32>, usize), Error> {
        let mut last_error = None;
        for precision in &self.opener.precisions {
            let checked = (self.opener.open)(*precision).and_then(|mut network| {
                let golden = self.check.verify(&network)?;
                network.arm_canaries(self.check.texts())?;
                Ok((network, golden))
            });
            match checked {
                Ok((network, golden)) => {
                    let max_batch = match self.batch_images {
                        0 => network.measure_max_batch(TRIAL_BATCH, MAX_GPU_BATCH),
                        images => images,
                    };
                    return Ok((network, golden, max_batch));
                }
                Err(error) => {
                    tracing::debug!(
                        device = %self.opener.name,
                        %precision,
                        %error,
                        "the device cannot use this precision"
                    );
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.unwrap_or(Error::Stopped))
    }

    /// Runs a batch and answers it, or gives it back.
    fn run_work(&self, state: &mut OpenNetworkState, work: Work) -> Result<(), String> {
        let Work { number, inputs } = work;
        let urgency = match &inputs {
            BatchInputs::Images(_) => Urgency::Background,
            BatchInputs::Queries(_) | BatchInputs::Texts(_) => Urgency::Query,
        };
        let results = match &inputs {
            BatchInputs::Queries(jobs) | BatchInputs::Images(jobs) => {
                let inputs: Vec<_> = jobs.iter().flat_map(|job| job.iter()).collect();
                state.run_chunks(&inputs, |network, chunk| {
                    network.embed_images(chunk, urgency)
                })
            }
            BatchInputs::Texts(jobs) => {
                let texts: Vec<_> = jobs.iter().flat_map(|job| job.iter()).collect();
                state.run_chunks(&texts, DeviceNetwork::embed_texts)
            }
        };
        match results {
            Ok(results) => {
                let max_batch = state.limit.images();
                self.pool.complete(self.device, number, max_batch, results);
                Ok(())
            }
            Err(DeviceFailure { problem }) => {
                self.pool.fail(self.device, number, problem.clone());
                Err(problem)
            }
        }
    }
}

impl OpenNetworkState {
    /// Runs inputs in chunks of the size that the device takes, and learns from the results.
    fn run_chunks<T>(
        &mut self,
        inputs: &[&T],
        embed: impl Fn(&DeviceNetwork, &[&T]) -> Result<BatchResults, DeviceFailure>,
    ) -> Result<Vec<Result<Vec<f32>, Error>>, DeviceFailure> {
        let mut results = Vec::with_capacity(inputs.len());
        while results.len() < inputs.len() {
            let size = BatchSize {
                max_inputs: self.limit.images(),
                has_power_of_two: self.network.has_power_of_two,
                has_canary: self.network.has_canary,
                // The pool has chosen how many images a query may wait for.
                max_images_between_queries: usize::MAX,
            };
            let rest = &inputs[results.len()..];
            let chunk = &rest[..size.fit(rest.len()).min(rest.len())];
            let batch = embed(&self.network, chunk).inspect_err(|_| {
                // The size may be the cause, unless it was one input; the limit grows again if it
                // is not.
                if chunk.len() > 1 {
                    self.limit.record_too_large(size.fit_run(chunk.len() / 2));
                }
            })?;
            match batch.is_too_large() {
                true => self.limit.record_too_large(size.fit_run(batch.largest_run)),
                false => self.limit.record_success(size.fit_run(chunk.len())),
            }
            results.extend(batch.results);
        }
        Ok(results)
    }
}
