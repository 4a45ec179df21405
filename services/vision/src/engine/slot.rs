//! The state of one device in the pool.

use std::time::{Duration, Instant};

use super::{
    queue::{Batch, BatchSize},
    request::{DeviceKind, DeviceName},
};
use crate::{
    error::Error,
    metrics::{DEVICE_FAILURES, DEVICE_INFO},
};

/// Opening a GPU may take as long as this many batches: it compiles and measures kernels.
const OPENING_BATCHES: u32 = 5;

/// While there are queries, a batch of images takes about this long at most, because a query that
/// arrives meanwhile waits for its end.
const MAX_QUERY_WAIT: Duration = Duration::from_millis(12);

#[derive(Debug)]
pub(super) enum Phase {
    /// Not opened yet. The last resort stays idle until it is needed.
    Idle,
    Opening,
    Ready,
    /// Out of the pool. The device's thread opens it again at this time.
    Failed {
        /// Why, for people.
        problem: String,
        retry_at: Instant,
    },
}

/// State of a device, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStatus {
    /// As in the setting `device`: `cpu`, `vulkan:0`, `cuda:1`.
    pub device: String,
    /// Hardware and precision; empty before the device was ready for the first time.
    pub description: String,
    pub state: DeviceState,
    /// Why the device failed.
    pub problem: Option<String>,
    /// Most images of one run at present.
    pub max_batch: usize,
    /// Images and texts embedded since the start.
    pub embedded: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    Opening,
    /// Takes work.
    Ready,
    /// The CPU, which takes work only when no other device does.
    Standby,
    /// Out of the pool; it is opened again after a growing delay.
    Failed,
}

#[derive(Debug)]
struct RunningBatch {
    number: u64,
    started_at: Instant,
    batch: Batch,
}

#[derive(Debug)]
pub(super) struct DeviceSlot {
    pub name: DeviceName,
    /// Works only while no other device does.
    pub is_last_resort: bool,
    pub phase: Phase,
    pub description: String,
    /// The vector of the golden picture on this device.
    pub golden: Option<Vec<f32>>,
    /// The most inputs of one run, with a canary.
    pub max_batch: usize,
    pub has_power_of_two: bool,
    pub has_canary: bool,
    /// Images and texts embedded since the start.
    pub images: u64,
    /// The usual time of one image in a batch of images.
    image_time: Option<Duration>,
    pub batches_since_opened: u64,
    pub failures_in_a_row: u32,
    /// The last attempt to open the device failed.
    pub has_failed_to_open: bool,
    /// The thread waits for a device that hangs.
    pub is_stuck: bool,
    /// When the thread began to open the device, while it does.
    pub opening_since: Option<Instant>,
    pub has_ended: bool,
    /// The model's name, for metrics.
    model: String,
    /// The error of the last failure, until someone takes it.
    error: Option<Error>,
    in_flight: Option<RunningBatch>,
    next_number: u64,
}

impl DeviceSlot {
    pub(super) fn new(name: DeviceName, is_last_resort: bool, model: &str) -> Self {
        Self {
            name,
            is_last_resort,
            phase: Phase::Idle,
            description: String::new(),
            golden: None,
            max_batch: 1,
            has_power_of_two: false,
            has_canary: false,
            images: 0,
            image_time: None,
            batches_since_opened: 0,
            failures_in_a_row: 0,
            has_failed_to_open: false,
            is_stuck: false,
            opening_since: None,
            has_ended: false,
            model: model.to_owned(),
            error: None,
            in_flight: None,
            next_number: 0,
        }
    }

    pub(super) fn batch_size(&self) -> BatchSize {
        BatchSize {
            max_inputs: self.max_batch,
            has_power_of_two: self.has_power_of_two,
            has_canary: self.has_canary,
            max_images_between_queries: self.max_images_between_queries(),
        }
    }

    /// Returns the most images that take no longer than [`MAX_QUERY_WAIT`]. A device with a fixed time
    /// per batch reaches its limit in steps, because the time of one image shrinks in larger batches.
    fn max_images_between_queries(&self) -> usize {
        let Some(image_time) = self.image_time else {
            return usize::MAX;
        };
        let images = MAX_QUERY_WAIT.as_nanos() / image_time.as_nanos().max(1);
        usize::try_from(images).unwrap_or(usize::MAX).max(1)
    }

    /// Records that a batch of so many images has just ended.
    fn record_batch_time(&mut self, batch: &Batch, took: Duration) {
        let Batch::Images(jobs) = batch else { return };
        let images: usize = jobs.iter().map(|job| job.inputs.len()).sum();
        let image_time = took / u32::try_from(images.max(1)).unwrap_or(u32::MAX);
        self.image_time = Some(match self.image_time {
            Some(before) => (before * 7 + image_time) / 8,
            None => image_time,
        });
    }

    /// Returns the most images of requests in one run.
    pub(super) fn max_images(&self) -> usize {
        self.batch_size().fit(usize::MAX)
    }

    /// Returns the number of the batch.
    pub(super) fn start_batch(&mut self, batch: Batch, now: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight = Some(RunningBatch {
            number,
            started_at: now,
            batch,
        });
        number
    }

    /// Takes the batch with this number, unless it was taken back, and records how long it took.
    pub(super) fn end_batch(&mut self, number: u64, now: Instant) -> Option<Batch> {
        let started_at = self.in_flight.as_ref()?.started_at;
        let batch = self.take_in_flight(number)?;
        self.record_batch_time(&batch, now.saturating_duration_since(started_at));
        Some(batch)
    }

    /// Takes the batch with this number, unless it was taken back.
    pub(super) fn take_in_flight(&mut self, number: u64) -> Option<Batch> {
        let in_flight = self
            .in_flight
            .take_if(|in_flight| in_flight.number == number)?;
        Some(in_flight.batch)
    }

    pub(super) fn take_any_in_flight(&mut self) -> Option<Batch> {
        Some(self.in_flight.take()?.batch)
    }

    /// When the batch in flight, or opening the device, is overdue. The CPU may take as long as it
    /// needs.
    pub(super) fn overdue_at(&self, batch_timeout: Duration) -> Option<Instant> {
        if self.name.kind == DeviceKind::Cpu {
            return None;
        }
        match &self.in_flight {
            Some(in_flight) => Some(in_flight.started_at + batch_timeout),
            None => Some(self.opening_since? + batch_timeout * OPENING_BATCHES),
        }
    }

    pub(super) fn record_failure(&mut self, error: Error, retry_at: Instant) {
        let name = self.name.to_string();
        DEVICE_FAILURES.with_label_values(&[&name]).inc();
        self.phase = Phase::Failed {
            problem: error.to_string(),
            retry_at,
        };
        self.error = Some(error);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }

    /// Logs why the device is out of the pool, if it is.
    pub(super) fn log_problem(&self) {
        if let Phase::Failed { problem, .. } = &self.phase {
            tracing::error!(
                device = %self.name,
                problem,
                failures = self.failures_in_a_row,
                "the device is out of the pool, and is opened again later"
            );
        }
    }

    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    pub(super) fn problem(&self) -> Option<String> {
        match &self.phase {
            Phase::Failed { problem, .. } => Some(problem.clone()),
            _ => None,
        }
    }

    /// Returns whether the device is out of the pool and will probably stay out. A device that failed
    /// during its work often works when it is opened again.
    pub(super) fn is_hopeless(&self) -> bool {
        let is_failed = matches!(self.phase, Phase::Failed { .. });
        is_failed && (self.has_failed_to_open || self.is_stuck)
    }

    /// Returns the state; the last resort is on standby unless it is needed.
    pub(super) fn state(&self, needs_last_resort: bool) -> DeviceState {
        match self.phase {
            Phase::Failed { .. } => DeviceState::Failed,
            _ if self.is_last_resort && !needs_last_resort => DeviceState::Standby,
            Phase::Idle | Phase::Opening => DeviceState::Opening,
            Phase::Ready => DeviceState::Ready,
        }
    }

    pub(super) fn status(&self, needs_last_resort: bool) -> DeviceStatus {
        DeviceStatus {
            device: self.name.to_string(),
            description: self.description.clone(),
            state: self.state(needs_last_resort),
            problem: self.problem(),
            max_batch: self.max_images(),
            embedded: self.images,
        }
    }

    /// Updates the metrics.
    pub(super) fn publish_state(&self, needs_last_resort: bool) {
        let is_working = self.state(needs_last_resort) == DeviceState::Ready;
        let name = self.name.to_string();
        DEVICE_INFO
            .with_label_values(&[&*name, &*self.model])
            .set(i64::from(is_working));
        // Exported from the start, as 0.
        DEVICE_FAILURES.with_label_values(&[&name]);
    }

    /// Sets the metrics to "not in use".
    pub(super) fn retract_state(&self) {
        DEVICE_INFO
            .with_label_values(&[&*self.name.to_string(), &*self.model])
            .set(0);
    }
}
