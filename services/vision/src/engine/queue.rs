//! The queues of requests, which all devices share.
//!
//! Queries and texts go before images. Between queries and texts the devices alternate, so that neither
//! waits for the other for long.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{error::Error, preprocess::Input};

/// Devices that may fail on a job before the job is considered the cause.
const MAX_DEVICE_FAILURES: u32 = 3;

/// After a query or text, batches of images are short for this long, because more queries may follow.
const QUERY_PERIOD: Duration = Duration::from_secs(2);

/// Images or texts that are answered together.
#[derive(Debug)]
pub(super) struct EmbedJob<T> {
    pub inputs: Arc<[T]>,
    pub reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
    /// Devices that failed while they ran this job.
    pub device_failures: u32,
    /// The job's place in the queue, which is free again when a device takes the job.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The jobs of one queue that a device runs together.
#[derive(Debug)]
pub(super) enum Batch {
    Queries(Vec<EmbedJob<Input>>),
    Texts(Vec<EmbedJob<String>>),
    Images(Vec<EmbedJob<Input>>),
}

/// The inputs of a batch: one item per job. The jobs themselves stay in the pool, so that another
/// device can run them if this one fails or hangs.
#[derive(Debug)]
pub(super) enum BatchInputs {
    Queries(Vec<Arc<[Input]>>),
    Images(Vec<Arc<[Input]>>),
    Texts(Vec<Arc<[String]>>),
}

/// How many inputs a device takes at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    /// The most inputs of one run, with a canary.
    pub max_inputs: usize,
    /// Run only 1, 2, 4, 8, … inputs: a GPU prepares its kernels for each batch size it meets.
    pub has_power_of_two: bool,
    /// Whether the device adds a canary to each run, which counts as an input.
    pub has_canary: bool,
    /// The most images of one run that a query may have to wait for.
    pub max_images_between_queries: usize,
}

impl BatchSize {
    /// Returns the size of a run that a query may have to wait for.
    fn between_queries(self) -> Self {
        let images = self.max_images_between_queries.max(1);
        let run = images.saturating_add(usize::from(self.has_canary));
        Self {
            max_inputs: self.max_inputs.min(run),
            ..self
        }
    }

    /// Returns the number of inputs to take next when this many wait; at least 1.
    pub(super) fn fit(self, waiting: usize) -> usize {
        let canaries = usize::from(self.has_canary);
        let run = waiting.saturating_add(canaries).min(self.max_inputs).max(1);
        let run = match self.has_power_of_two {
            true => 1 << run.ilog2(),
            false => run,
        };
        run.saturating_sub(canaries).max(1)
    }

    /// Returns the inputs of the next run of this many waiting ones, with a canary.
    pub(super) fn fit_run(self, waiting: usize) -> usize {
        self.fit(waiting) + usize::from(self.has_canary)
    }
}

#[derive(Debug, Default)]
pub(super) struct JobQueues {
    pub queries: VecDeque<EmbedJob<Input>>,
    pub texts: VecDeque<EmbedJob<String>>,
    pub images: VecDeque<EmbedJob<Input>>,
    /// The last batch was one of queries.
    is_turn_of_texts: bool,
    /// When a device took the last queries or texts.
    queried_at: Option<Instant>,
}

impl JobQueues {
    /// Takes the next jobs whose senders still wait, if there are any.
    pub(super) fn take_batch(&mut self, size: BatchSize, now: Instant) -> Option<Batch> {
        remove_abandoned(&mut self.queries);
        remove_abandoned(&mut self.texts);
        remove_abandoned(&mut self.images);
        if !self.texts.is_empty() && (self.is_turn_of_texts || self.queries.is_empty()) {
            self.is_turn_of_texts = false;
            self.queried_at = Some(now);
            return Some(Batch::Texts(take_jobs(&mut self.texts, size)));
        }
        if !self.queries.is_empty() {
            self.is_turn_of_texts = true;
            self.queried_at = Some(now);
            return Some(Batch::Queries(take_jobs(&mut self.queries, size)));
        }
        if self.images.is_empty() {
            return None;
        }
        let since_query = |at| now.saturating_duration_since(at);
        let has_queries = self
            .queried_at
            .is_some_and(|at| since_query(at) < QUERY_PERIOD);
        let size = match has_queries {
            true => size.between_queries(),
            false => size,
        };
        Some(Batch::Images(take_jobs(&mut self.images, size)))
    }

    /// Puts the jobs of a failed device back to the front of their queue. A job on which too many
    /// devices failed gets an error instead, because it is probably the cause.
    pub(super) fn put_back(&mut self, batch: Batch, problem: &str) {
        match batch {
            Batch::Queries(jobs) => put_jobs_back(&mut self.queries, jobs, problem),
            Batch::Texts(jobs) => put_jobs_back(&mut self.texts, jobs, problem),
            Batch::Images(jobs) => put_jobs_back(&mut self.images, jobs, problem),
        }
    }

    /// Answers every job with [`Error::Broken`], because no device is left.
    pub(super) fn fail_all(&mut self, problem: &str) {
        fail_jobs(self.queries.drain(..), problem);
        fail_jobs(self.texts.drain(..), problem);
        fail_jobs(self.images.drain(..), problem);
    }

    /// Drops every job, which its sender notices.
    pub(super) fn clear(&mut self) {
        self.queries.clear();
        self.texts.clear();
        self.images.clear();
    }
}

impl Batch {
    pub(super) fn inputs(&self) -> BatchInputs {
        match self {
            Self::Queries(jobs) => BatchInputs::Queries(clone_inputs(jobs)),
            Self::Images(jobs) => BatchInputs::Images(clone_inputs(jobs)),
            Self::Texts(jobs) => BatchInputs::Texts(clone_inputs(jobs)),
        }
    }

    /// Answers the jobs with the results of their inputs, in order.
    pub(super) fn answer(self, results: Vec<Result<Vec<f32>, Error>>) {
        match self {
            Self::Queries(jobs) | Self::Images(jobs) => answer_jobs(jobs, results),
            Self::Texts(jobs) => answer_jobs(jobs, results),
        }
    }
}

fn remove_abandoned<T>(queue: &mut VecDeque<EmbedJob<T>>) {
    queue.retain(|job| !job.reply.is_closed());
}

/// Takes jobs up to the size, but at least one. A job on which a device failed is taken alone, so that
/// it endangers no others.
fn take_jobs<T>(queue: &mut VecDeque<EmbedJob<T>>, size: BatchSize) -> Vec<EmbedJob<T>> {
    let max_inputs = size.fit(queue.iter().map(|job| job.inputs.len()).sum());
    let mut jobs: Vec<EmbedJob<T>> = Vec::new();
    let mut inputs = 0;
    while let Some(next) = queue.front() {
        let is_alone = next.device_failures > 0 || jobs.iter().any(|job| job.device_failures > 0);
        if !jobs.is_empty() && (is_alone || inputs + next.inputs.len() > max_inputs) {
            break;
        }
        inputs += next.inputs.len();
        let mut job = queue.pop_front().expect("the queue has a front");
        job.permit = None;
        jobs.push(job);
    }
    jobs
}

fn put_jobs_back<T>(queue: &mut VecDeque<EmbedJob<T>>, jobs: Vec<EmbedJob<T>>, problem: &str) {
    for mut job in jobs.into_iter().rev() {
        job.device_failures += 1;
        if job.device_failures < MAX_DEVICE_FAILURES {
            queue.push_front(job);
            continue;
        }
        // The sender may be gone, then the reply is not needed.
        let _ = job.reply.send(Err(Error::Network {
            batch_images: job.inputs.len(),
            problem: format!(
                "the device failed {} times on it: {problem}",
                job.device_failures
            ),
        }));
    }
}

fn fail_jobs<T>(jobs: impl Iterator<Item = EmbedJob<T>>, problem: &str) {
    for job in jobs {
        let problem = problem.to_owned();
        let _ = job.reply.send(Err(Error::Broken { problem }));
    }
}

fn clone_inputs<T>(jobs: &[EmbedJob<T>]) -> Vec<Arc<[T]>> {
    jobs.iter().map(|job| Arc::clone(&job.inputs)).collect()
}

fn answer_jobs<T>(jobs: Vec<EmbedJob<T>>, results: Vec<Result<Vec<f32>, Error>>) {
    let inputs: usize = jobs.iter().map(|job| job.inputs.len()).sum();
    assert_eq!(results.len(), inputs, "one result for each input");
    let mut results = results.into_iter();
    for job in jobs {
        // All results of this request are taken, even after a failed one, because the results
        // of the next request follow them.
        let own_results: Vec<Result<Vec<f32>, Error>> =
            results.by_ref().take(job.inputs.len()).collect();
        let _ = job.reply.send(own_results.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_where_required() {
        let size = |max_inputs, has_power_of_two| BatchSize {
            max_inputs,
            has_power_of_two,
            has_canary: false,
            max_images_between_queries: usize::MAX,
        };
        for (waiting, any, power) in [(0, 1, 1), (1, 1, 1), (7, 7, 4), (12, 12, 8), (99, 12, 8)] {
            assert_eq!(size(12, false).fit(waiting), any);
            assert_eq!(size(12, true).fit(waiting), power);
        }
        let with_canary = |max_inputs| BatchSize {
            has_canary: true,
            ..size(max_inputs, true)
        };
        for (waiting, inputs) in [(0, 1), (1, 1), (2, 1), (3, 3), (6, 3), (7, 7), (99, 31)] {
            assert_eq!(with_canary(32).fit(waiting), inputs);
            assert!(with_canary(32).fit_run(waiting).is_power_of_two());
        }
        assert_eq!(with_canary(1).fit(99), 1);
    }

    fn job(text: &str, device_failures: u32) -> EmbedJob<String> {
        EmbedJob {
            inputs: Arc::from([text.to_owned()]),
            reply: oneshot::channel().0,
            device_failures,
            permit: None,
        }
    }

    #[test]
    fn suspects_are_taken_alone() {
        let size = BatchSize {
            max_inputs: 8,
            has_power_of_two: false,
            has_canary: false,
            max_images_between_queries: usize::MAX,
        };
        let mut queue = VecDeque::from([job("a", 1), job("b", 1), job("c", 0), job("d", 0)]);
        let mut counts = Vec::new();
        while !queue.is_empty() {
            counts.push(take_jobs(&mut queue, size).len());
        }
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn batches_of_images_are_short_while_there_are_queries() {
        let size = BatchSize {
            max_inputs: 16,
            has_power_of_two: false,
            has_canary: false,
            max_images_between_queries: 4,
        };
        let image = || EmbedJob {
            inputs: Arc::from([Input::from(vec![0])]),
            reply: oneshot::channel().0,
            device_failures: 0,
            permit: None,
        };
        let start = Instant::now();
        let mut queues = JobQueues::default();
        let mut receivers = Vec::new();
        let mut take = |queries, at| {
            for _ in 0..20 {
                let (reply, receiver) = oneshot::channel();
                queues.images.push_back(EmbedJob { reply, ..image() });
                receivers.push(receiver);
            }
            for _ in 0..queries {
                let (reply, receiver) = oneshot::channel();
                queues.queries.push_back(EmbedJob { reply, ..image() });
                receivers.push(receiver);
            }
            match queues.take_batch(size, at) {
                Some(Batch::Images(jobs)) => ("images", jobs.len()),
                Some(Batch::Queries(jobs)) => ("queries", jobs.len()),
                _ => ("other", 0),
            }
        };
        assert_eq!(take(0, start), ("images", 16));
        assert_eq!(take(7, start), ("queries", 7), "queries do not count");
        let soon = start + QUERY_PERIOD / 2;
        assert_eq!(take(0, soon), ("images", 4));
        assert_eq!(take(0, start + QUERY_PERIOD), ("images", 16));
    }
}
