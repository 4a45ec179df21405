//! Sends requests and measures them.
//!
//! In an open loop, requests start at times that were drawn before, however long the answers take, as
//! those of independent users do. Latencies count from the intended start, so a server that stops for a
//! second is charged for every request of this second (no coordinated omission). In a closed loop, each
//! client sends its next request when it has the answer to the last one; that measures throughput.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_chassis::stdio;
use lookalike_painter::paint::Random;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::arrivals::{ArrivalPattern, ArrivalTimes};
use super::mix::{SearchKind, SearchMix};
use super::recorder::{LoadRecord, RequestOutcome};
use super::workload::SearchWorkload;
use crate::bench::report::format_number;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// When requests start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadPattern {
    Open {
        /// Requests per second.
        rate: f64,
        arrivals: ArrivalPattern,
        /// Requests beyond this number are not sent, and count as dropped.
        max_in_flight: usize,
    },
    Closed {
        clients: usize,
    },
}

/// One run.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    pub pattern: LoadPattern,
    pub mix: SearchMix,
    /// Time at the start that is not recorded.
    pub warm_up: Duration,
    pub duration: Duration,
    pub seed: u64,
    /// Whether to print a line per second.
    pub shows_progress: bool,
}

/// The measurements of a run.
#[derive(Debug, Clone, Default)]
pub struct LoadResult {
    pub record: LoadRecord,
    /// The recorded time, without the warm-up.
    pub elapsed: Duration,
    /// Answers per second, for every second.
    pub timeline: Vec<u64>,
}

impl LoadResult {
    /// Returns the right answers per second.
    pub fn answers_per_second(&self) -> f64 {
        let total = self.record.total();
        (total.answered() - total.wrong) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What all tasks of a run share.
struct RunState {
    workload: Arc<SearchWorkload>,
    mix: SearchMix,
    /// Requests intended before are not recorded.
    recording_from: Instant,
    record: Mutex<LoadRecord>,
    sent: AtomicU64,
    in_flight: AtomicU64,
    /// Also those of the warm-up.
    answered: AtomicU64,
    is_stopped: AtomicBool,
}

impl RunState {
    fn lock_record(&self) -> MutexGuard<'_, LoadRecord> {
        self.record
            .lock()
            .expect("no holder of this lock can panic")
    }

    /// Sends a request and records its outcome. Returns whether it was answered.
    async fn run_request(&self, kind: SearchKind, intended: Instant) -> bool {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let outcome = self.workload.send(kind, number).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let is_answered = !matches!(outcome, RequestOutcome::Failed(_));
        self.answered
            .fetch_add(u64::from(is_answered), Ordering::Relaxed);
        if intended >= self.recording_from {
            self.lock_record()
                .record_outcome(kind, intended.elapsed(), outcome);
        }
        is_answered
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// Runs a plan until its end, or until `stop` is set. In both cases it returns what was measured.
pub async fn run_load(
    workload: &Arc<SearchWorkload>,
    plan: &LoadPlan,
    stop: &AtomicBool,
) -> LoadResult {
    let started = Instant::now();
    let state = Arc::new(RunState {
        workload: Arc::clone(workload),
        mix: plan.mix,
        recording_from: started + plan.warm_up,
        record: Mutex::default(),
        sent: AtomicU64::new(0),
        in_flight: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        is_stopped: AtomicBool::new(false),
    });
    let ends_at = started + plan.warm_up + plan.duration;
    let senders = match plan.pattern {
        LoadPattern::Open {
            rate,
            arrivals,
            max_in_flight,
        } => {
            let times = ArrivalTimes::new(arrivals, rate, plan.seed);
            start_open_loop(&state, times, max_in_flight, started, ends_at, plan.seed)
        }
        LoadPattern::Closed { clients } => start_closed_loop(&state, clients, ends_at, plan.seed),
    };
    let mut result = LoadResult {
        timeline: watch_run(&state, plan, started, ends_at, stop).await,
        ..LoadResult::default()
    };
    state.is_stopped.store(true, Ordering::Relaxed);
    result.elapsed = Instant::now()
        .min(ends_at)
        .saturating_duration_since(state.recording_from);
    // Requests in flight end within their timeout. They belong to the run.
    senders.join_all().await;
    result.record = state.lock_record().clone();
    result
}

/// Waits for the end of a run, and returns the answers of every recorded second.
async fn watch_run(
    state: &RunState,
    plan: &LoadPlan,
    started: Instant,
    ends_at: Instant,
    stop: &AtomicBool,
) -> Vec<u64> {
    let mut timeline = Vec::new();
    let mut answered_before = 0;
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.tick().await;
    loop {
        let end = tokio::time::sleep_until(ends_at.into());
        tokio::select! {
            // First, so that the last second is not left out.
            biased;
            _ = tick.tick() => {}
            () = end => return timeline,
        }
        if stop.load(Ordering::Relaxed) {
            return timeline;
        }
        let record = state.lock_record().clone();
        let total = record.total();
        let answered = state.answered.load(Ordering::Relaxed);
        if Instant::now() > state.recording_from {
            timeline.push(answered - answered_before);
        }
        if plan.shows_progress {
            let elapsed = started.elapsed().as_secs_f64();
            let in_flight = state.in_flight.load(Ordering::Relaxed);
            if Instant::now() <= state.recording_from {
                stdio::eprint_line(&format!(
                    "{elapsed:>4.0} s  warming up, {in_flight} in flight"
                ));
            } else {
                stdio::eprint_line(&format!(
                    "{elapsed:>4.0} s  {:>5}/s  p50 {} ms  p99 {} ms  in flight {in_flight}  failed {}  \
                     wrong {}  dropped {}",
                    answered - answered_before,
                    format_number(total.percentile_ms(50.0)),
                    format_number(total.percentile_ms(99.0)),
                    total.failed,
                    total.wrong,
                    total.dropped,
                ));
            }
        }
        answered_before = answered;
    }
}

/// Starts a thread that sends each request at its time. Timers of the runtime are exact to a
/// millisecond only; a sleeping thread is exact to a tenth of this.
fn start_open_loop(
    state: &Arc<RunState>,
    times: ArrivalTimes,
    max_in_flight: usize,
    started: Instant,
    ends_at: Instant,
    seed: u64,
) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    let state = Arc::clone(state);
    let handle = Handle::current();
    senders.spawn_blocking(move || {
        let permits = Arc::new(Semaphore::new(max_in_flight));
        let mut random = Random::new(seed, 23);
        for time in times {
            let intended = started + time;
            if intended >= ends_at {
                break;
            }
            if !sleep_until(intended, &state.is_stopped) {
                break;
            }
            let kind = state.mix.draw_kind(&mut random);
            match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => {
                    let state = Arc::clone(&state);
                    handle.spawn(async move {
                        state.run_request(kind, intended).await;
                        drop(permit);
                    });
                }
                Err(_) if intended >= state.recording_from => {
                    state.lock_record().record_dropped(kind);
                }
                Err(_) => {}
            }
        }
        let all = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
        // Every request has a timeout, so this ends.
        let _ = handle.block_on(permits.acquire_many(all));
    });
    senders
}

/// Sleeps on this thread; returns false as soon as `is_stopped` is set.
fn sleep_until(time: Instant, is_stopped: &AtomicBool) -> bool {
    const MAX_SLEEP: Duration = Duration::from_millis(100);
    loop {
        if is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(MAX_SLEEP));
    }
}

fn start_closed_loop(
    state: &Arc<RunState>,
    clients: usize,
    ends_at: Instant,
    seed: u64,
) -> JoinSet<()> {
    /// Pause after a failure, so that a server that is down is not flooded.
    const FAILURE_PAUSE: Duration = Duration::from_millis(50);
    let mut senders = JoinSet::new();
    for client in 0..clients {
        let state = Arc::clone(state);
        senders.spawn(async move {
            let mut random = Random::new(seed, 1000 + client as u64);
            while !state.is_stopped() && Instant::now() < ends_at {
                let kind = state.mix.draw_kind(&mut random);
                if !state.run_request(kind, Instant::now()).await {
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        });
    }
    senders
}

/// Sends `count` uploads one after the other and returns their latencies in milliseconds.
pub async fn time_uploads(
    workload: &SearchWorkload,
    first: u64,
    count: u64,
) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for number in first..first + count {
        let started = Instant::now();
        match workload.send(SearchKind::Upload, number).await {
            RequestOutcome::Right => latencies.push(started.elapsed().as_secs_f64() * 1000.0),
            RequestOutcome::Wrong(problem) | RequestOutcome::Failed(problem) => {
                anyhow::bail!("search by upload: {problem}")
            }
        }
    }
    Ok(latencies)
}
