//! The devices of an engine and the work that they share.
//!
//! Each device has a thread, which asks [`Pool::wait_for_task`] what to do next. One lock protects the
//! queues and the states of all devices, so that a batch always belongs either to a queue or to one
//! device: it is never lost.
//!
//! A device that fails leaves the pool. Its batch goes back to the front of its queue, and its thread
//! opens and checks it again after a growing delay. The *last resort* (the CPU) works only while no
//! other device does. If all devices failed and could not be opened again, requests fail with
//! [`Error::Broken`].

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, oneshot};

use super::{
    queue::{Batch, BatchInputs, EmbedJob, JobQueues},
    request::DeviceKind,
    slot::{DeviceSlot, DeviceStatus, Phase},
};
use crate::{error::Error, preprocess::Input};

/// Batches after which a device that was opened again counts as healthy.
const HEALTHY_BATCHES: u64 = 100;

/// Most time that the end of a pool waits for devices other than the CPU.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits and limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// Delay before a failed device is opened again; doubles with each failure.
    pub retry_delay: Duration,
    pub max_retry_delay: Duration,
    /// A GPU that returns nothing for this long counts as failed.
    pub batch_timeout: Duration,
    /// Most query images that wait, and as many texts.
    pub max_queued_queries: usize,
    /// Most images to index that wait.
    pub max_queued_images: usize,
}

/// What a device's thread does next.
pub(super) enum DeviceTask {
    /// Open the device and check it.
    Open,
    /// Run a batch.
    Run(Work),
    /// End.
    Close,
}

/// A batch for one device.
pub(super) struct Work {
    /// Distinguishes this batch from the device's other ones.
    pub number: u64,
    pub inputs: BatchInputs,
}

enum NextTask {
    Now(DeviceTask),
    /// Nothing to do until something changes, or until this time.
    Wait(Option<Instant>),
}

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
    /// Jobs arrived, a device changed its state, or the pool closes.
    changed: Condvar,
    query_places: Arc<Semaphore>,
    text_places: Arc<Semaphore>,
    image_places: Arc<Semaphore>,
    limits: PoolLimits,
}

#[derive(Debug)]
struct PoolState {
    queues: JobQueues,
    slots: Vec<DeviceSlot>,
    /// Before that, failures are the errors of the start.
    has_started: bool,
    is_closed: bool,
}

impl Pool {
    pub(super) fn new(slots: Vec<DeviceSlot>, limits: PoolLimits) -> Self {
        Self {
            state: Mutex::new(PoolState {
                queues: JobQueues::default(),
                slots,
                has_started: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
            query_places: Arc::new(Semaphore::new(limits.max_queued_queries.max(1))),
            text_places: Arc::new(Semaphore::new(limits.max_queued_queries.max(1))),
            image_places: Arc::new(Semaphore::new(limits.max_queued_images.max(1))),
            limits,
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Every change of the state is complete when the lock is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state and takes back the batches of devices that hang. If all devices hang, no idle
    /// device thread notices it; only callers do.
    fn lock_current(&self) -> MutexGuard<'_, PoolState> {
        let mut state = self.lock();
        if state.take_back_overdue(Instant::now(), &self.limits) {
            self.changed.notify_all();
        }
        state
    }

    /// Waits until something changes, or until a time.
    fn wait_for_change<'a>(
        &self,
        state: MutexGuard<'a, PoolState>,
        now: Instant,
        until: Option<Instant>,
    ) -> MutexGuard<'a, PoolState> {
        let Some(until) = until else {
            let waited = self.changed.wait(state);
            return waited.unwrap_or_else(PoisonError::into_inner);
        };
        let wait = until.saturating_duration_since(now);
        let waited = self.changed.wait_timeout(state, wait);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) async fn submit_query(&self, inputs: Vec<Input>) -> Result<JobReceiver, Error> {
        let limit = self.limits.max_queued_queries;
        self.submit(&self.query_places, limit, inputs, |queues, job| {
            queues.queries.push_back(job);
        })
        .await
    }

    pub(super) async fn submit_texts(&self, texts: Vec<String>) -> Result<JobReceiver, Error> {
        let limit = self.limits.max_queued_queries;
        self.submit(&self.text_places, limit, texts, |queues, job| {
            queues.texts.push_back(job);
        })
        .await
    }

    pub(super) async fn submit_images(&self, inputs: Vec<Input>) -> Result<JobReceiver, Error> {
        let limit = self.limits.max_queued_images;
        self.submit(&self.image_places, limit, inputs, |queues, job| {
            queues.images.push_back(job);
        })
        .await
    }

    /// Waits for a place in a queue, and puts a job there.
    async fn submit<T>(
        &self,
        places: &Arc<Semaphore>,
        limit: usize,
        inputs: Vec<T>,
        push: impl FnOnce(&mut JobQueues, EmbedJob<T>),
    ) -> Result<JobReceiver, Error> {
        // If all devices hang, this fails the jobs that hold the places.
        drop(self.lock_current());
        let wanted = u32::try_from(inputs.len().min(limit.max(1))).unwrap_or(u32::MAX);
        let permit = Arc::clone(places).acquire_many_owned(wanted).await;
        let permit = permit.map_err(|_| Error::Stopped)?;
        let mut state = self.lock_current();
        if state.is_closed {
            return Err(Error::Stopped);
        }
        if let Some(problem) = state.find_problem_of_all() {
            return Err(Error::Broken { problem });
        }
        let (reply, receiver) = oneshot::channel();
        let job = EmbedJob {
            inputs: inputs.into(),
            reply,
            device_failures: 0,
            permit: Some(permit),
        };
        push(&mut state.queues, job);
        drop(state);
        self.changed.notify_all();
        Ok(receiver)
    }

    /// Blocks a device's thread until there is something to do.
    pub(super) fn wait_for_task(&self, device: usize) -> DeviceTask {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.take_back_overdue(now, &self.limits) {
                self.changed.notify_all();
            }
            match state.next_task(device, now, &self.limits) {
                NextTask::Now(task) => {
                    drop(state);
                    // The others wait until this task is overdue, at most.
                    self.changed.notify_all();
                    return task;
                }
                NextTask::Wait(until) => state = self.wait_for_change(state, now, until),
            }
        }
    }

    /// The device was opened and checked.
    pub(super) fn mark_ready(&self, device: usize, opened: OpenedDevice) {
        let mut state = self.lock();
        let slot = &mut state.slots[device];
        slot.phase = Phase::Ready;
        slot.opening_since = None;
        slot.is_stuck = false;
        slot.has_failed_to_open = false;
        slot.batches_since_opened = 0;
        slot.max_batch = opened.max_batch;
        slot.has_power_of_two = opened.has_power_of_two;
        slot.has_canary = opened.has_canary;
        slot.description = opened.description;
        slot.golden = Some(opened.golden);
        if slot.failures_in_a_row > 0 {
            tracing::info!(device = %slot.name, "the device works again");
        }
        state.publish_states();
        drop(state);
        self.changed.notify_all();
    }

    /// The device could not be opened, or computes wrong vectors.
    pub(super) fn mark_failed(&self, device: usize, error: Error) {
        let mut state = self.lock();
        state.slots[device].opening_since = None;
        state.slots[device].is_stuck = false;
        state.slots[device].has_failed_to_open = true;
        state.remove_device(device, error, Instant::now(), &self.limits);
        drop(state);
        self.changed.notify_all();
    }

    /// Answers the jobs of a batch. Does nothing if the batch was taken back meanwhile.
    pub(super) fn complete(
        &self,
        device: usize,
        number: u64,
        max_batch: usize,
        results: Vec<Result<Vec<f32>, Error>>,
    ) {
        let mut state = self.lock();
        let slot = &mut state.slots[device];
        slot.is_stuck = false;
        if let Some(batch) = slot.end_batch(number, Instant::now()) {
            slot.max_batch = max_batch;
            slot.images += results.len() as u64;
            slot.batches_since_opened += 1;
            if slot.batches_since_opened == HEALTHY_BATCHES {
                slot.failures_in_a_row = 0;
            }
            batch.answer(results);
        }
    }

    /// Takes a device out of the pool, and its batch back into the queue.
    pub(super) fn fail(&self, device: usize, number: u64, problem: String) {
        let mut state = self.lock();
        state.slots[device].is_stuck = false;
        if let Some(batch) = state.slots[device].take_in_flight(number) {
            state.remove_broken_device(device, Some(batch), problem, &self.limits);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The device's thread ends.
    pub(super) fn mark_ended(&self, device: usize) {
        let mut state = self.lock();
        state.slots[device].has_ended = true;
        state.slots[device].has_failed_to_open = true;
        if !state.is_closed {
            let problem = "its thread ended".to_owned();
            let batch = state.slots[device].take_any_in_flight();
            state.remove_broken_device(device, batch, problem, &self.limits);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Blocks until the devices that should work were opened.
    ///
    /// # Errors
    /// Returns the first device's error if no device is ready. With `needs_member`, the last resort
    /// does not count.
    pub(super) fn wait_until_opened(&self, needs_member: bool) -> Result<(), Error> {
        let mut state = self.lock();
        while state.is_opening(needs_member) {
            let now = Instant::now();
            if state.take_back_overdue(now, &self.limits) {
                self.changed.notify_all();
                continue;
            }
            let overdue = state.next_overdue(&self.limits);
            state = self.wait_for_change(state, now, overdue);
        }
        let is_ready = |slot: &DeviceSlot| {
            matches!(slot.phase, Phase::Ready) && !(needs_member && slot.is_last_resort)
        };
        if state.slots.iter().any(is_ready) {
            state.has_started = true;
            for slot in &state.slots {
                slot.log_problem();
            }
            return Ok(());
        }
        let errors = state.slots.iter_mut().filter_map(DeviceSlot::take_error);
        Err(errors.into_iter().next().unwrap_or(Error::Stopped))
    }

    pub(super) fn statuses(&self) -> Vec<DeviceStatus> {
        let state = self.lock_current();
        let needs_last_resort = state.needs_last_resort();
        let slots = state.slots.iter();
        slots.map(|slot| slot.status(needs_last_resort)).collect()
    }

    /// Reads the states of the devices.
    pub(super) fn inspect<R>(&self, read: impl FnOnce(&[DeviceSlot]) -> R) -> R {
        read(&self.lock().slots)
    }

    /// Ends the threads after their current batches and drops all jobs. Blocks until the threads have
    /// ended, except those that wait for a device that hangs, or for longer than [`CLOSE_TIMEOUT`] for
    /// a device other than the CPU. Returns which have ended.
    pub(super) fn close(&self) -> Vec<bool> {
        let mut state = self.lock();
        state.is_closed = true;
        state.queues.clear();
        self.changed.notify_all();
        let limit = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let now = Instant::now();
            state.take_back_overdue(now, &self.limits);
            let is_done = |slot: &DeviceSlot| {
                let is_late = now >= limit && slot.name.kind != DeviceKind::Cpu;
                slot.has_ended || slot.is_stuck || is_late
            };
            if state.slots.iter().all(is_done) {
                return state.slots.iter().map(|slot| slot.has_ended).collect();
            }
            // After the limit, only the CPU is waited for.
            let limit = (now < limit).then_some(limit);
            let overdue = state.next_overdue(&self.limits);
            let until = [limit, overdue].into_iter().flatten().min();
            state = self.wait_for_change(state, now, until);
        }
    }
}

/// Where the vectors of a job arrive.
pub(super) type JobReceiver = oneshot::Receiver<Result<Vec<Vec<f32>>, Error>>;

/// What opening a device found out.
pub(super) struct OpenedDevice {
    pub description: String,
    /// The vector of the golden picture on this device.
    pub golden: Vec<f32>,
    /// The most inputs of one run, with a canary.
    pub max_batch: usize,
    pub has_power_of_two: bool,
    pub has_canary: bool,
}

impl PoolState {
    fn next_task(&mut self, device: usize, now: Instant, limits: &PoolLimits) -> NextTask {
        if self.is_closed {
            return NextTask::Now(DeviceTask::Close);
        }
        let is_wanted = !self.slots[device].is_last_resort || self.needs_last_resort();
        let next_overdue = self.next_overdue(limits);
        let slot = &mut self.slots[device];
        match slot.phase {
            Phase::Idle if is_wanted => {
                slot.phase = Phase::Opening;
                slot.opening_since = Some(now);
                return NextTask::Now(DeviceTask::Open);
            }
            Phase::Failed { retry_at, .. } if is_wanted => {
                if retry_at <= now {
                    slot.opening_since = Some(now);
                    return NextTask::Now(DeviceTask::Open);
                }
                let earlier = next_overdue.map_or(retry_at, |overdue| overdue.min(retry_at));
                return NextTask::Wait(Some(earlier));
            }
            Phase::Ready if is_wanted => {
                if let Some(batch) = self.queues.take_batch(slot.batch_size(), now) {
                    let inputs = batch.inputs();
                    let number = slot.start_batch(batch, now);
                    return NextTask::Now(DeviceTask::Run(Work { number, inputs }));
                }
            }
            _ => {}
        }
        NextTask::Wait(next_overdue)
    }

    /// Returns whether no other device works or is about to.
    fn needs_last_resort(&self) -> bool {
        let mut members = self.slots.iter().filter(|slot| !slot.is_last_resort);
        members.all(|slot| matches!(slot.phase, Phase::Failed { .. }))
    }

    fn is_opening(&self, only_members: bool) -> bool {
        let is_opening = |slot: &&DeviceSlot| matches!(slot.phase, Phase::Idle | Phase::Opening);
        let mut members = self.slots.iter().filter(|slot| !slot.is_last_resort);
        if members.any(|slot| is_opening(&slot)) {
            return true;
        }
        let mut last_resort = self.slots.iter().filter(|slot| slot.is_last_resort);
        !only_members && self.needs_last_resort() && last_resort.any(|slot| is_opening(&slot))
    }

    /// Returns why no device works, if no device works or is likely to work soon.
    fn find_problem_of_all(&self) -> Option<String> {
        let is_hopeless = self.slots.iter().all(DeviceSlot::is_hopeless);
        self.slots.first()?.problem().filter(|_| is_hopeless)
    }

    /// Puts the batch of a device back into the queue, and takes the device out of the pool.
    fn remove_broken_device(
        &mut self,
        device: usize,
        batch: Option<Batch>,
        problem: String,
        limits: &PoolLimits,
    ) {
        if let Some(batch) = batch {
            self.queues.put_back(batch, &problem);
        }
        self.remove_device(device, Error::Broken { problem }, Instant::now(), limits);
    }

    fn remove_device(&mut self, device: usize, error: Error, now: Instant, limits: &PoolLimits) {
        let slot = &mut self.slots[device];
        let delay = limits
            .retry_delay
            .saturating_mul(1 << slot.failures_in_a_row.min(16))
            .min(limits.max_retry_delay);
        slot.record_failure(error, now + delay);
        if self.has_started {
            slot.log_problem();
        }
        if let Some(problem) = self.find_problem_of_all() {
            self.queues.fail_all(&problem);
        }
        self.publish_states();
    }

    /// Takes the batches of devices that hang back into the queue. Returns whether there were any.
    fn take_back_overdue(&mut self, now: Instant, limits: &PoolLimits) -> bool {
        let mut has_overdue = false;
        for device in 0..self.slots.len() {
            let slot = &mut self.slots[device];
            let overdue = slot.overdue_at(limits.batch_timeout);
            if overdue.is_none_or(|overdue| now < overdue) {
                continue;
            }
            has_overdue = true;
            slot.is_stuck = true;
            slot.opening_since = None;
            let problem = format!("no result within {:?}", limits.batch_timeout);
            if let Some(batch) = slot.take_any_in_flight() {
                self.queues.put_back(batch, &problem);
            }
            if self.is_closed {
                self.queues.clear();
            }
            self.remove_device(device, Error::Broken { problem }, now, limits);
        }
        has_overdue
    }

    fn next_overdue(&self, limits: &PoolLimits) -> Option<Instant> {
        let slots = self.slots.iter();
        slots
            .filter_map(|slot| slot.overdue_at(limits.batch_timeout))
            .min()
    }

    fn publish_states(&self) {
        let needs_last_resort = self.needs_last_resort();
        for slot in &self.slots {
            slot.publish_state(needs_last_resort);
        }
    }
}
