//! Several threads that compute the steps of one run.
//!
//! Rayon's parallel loops cost several microseconds per step, mostly because its threads sleep and wake. A network has up to a
//! hundred steps of some ten microseconds, so the helpers of a crew spin between the steps instead.
//!
//! The leader never waits for a helper to arrive: if the threads of the pool are busy, it computes all chunks itself.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The stages of a run, each with independent chunks.
pub(super) trait Stages: Sync {
    fn count_stages(&self) -> usize;
    fn count_chunks(&self, stage: usize) -> usize;
    /// Computes a chunk. `worker` is different for each thread of the crew.
    fn run_chunk(&self, stage: usize, chunk: usize, chunks: usize, worker: usize);
}

/// A stage of which no chunk is free, until the leader starts the first one.
const NOT_STARTED: u64 = u32::MAX as u64;

/// Waits of a helper in a row, after which it leaves the run: the thread that computes is then probably
/// preempted by others, which need this core, too.
const MAX_WAITS: u32 = 20_000;

/// Computes all stages with the threads of the current rayon pool.
pub(super) fn run_stages(stages: &dyn Stages, threads: usize) {
    let crew = Crew::new(stages);
    rayon::scope(|scope| {
        for worker in 1..threads {
            let crew = &crew;
            scope.spawn(move |_| crew.help(worker));
        }
        crew.lead();
    });
}

struct Crew<'a> {
    stages: &'a dyn Stages,
    /// The stage in the upper half, the next chunk in the lower half. A thread that takes a chunk can thus not take
    /// one of another stage by mistake.
    progress: AtomicU64,
    /// Finished chunks of the stage.
    finished: AtomicUsize,
    /// A chunk panicked.
    has_failed: AtomicBool,
}

/// Counts a chunk as finished, also if it panics: the leader waits for all chunks.
struct ChunkGuard<'a>(&'a Crew<'a>);

impl Drop for ChunkGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_failed.store(true, Ordering::Relaxed);
        }
        // Release: the leader reads what the chunk wrote.
        self.0.finished.fetch_add(1, Ordering::Release);
    }
}

/// Ends the work of the helpers, also if the leader panics.
struct EndGuard<'a>(&'a Crew<'a>);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.progress.store(u64::MAX, Ordering::Release);
    }
}

impl<'a> Crew<'a> {
    fn new(stages: &'a dyn Stages) -> Self {
        Self {
            stages,
            progress: AtomicU64::new(NOT_STARTED),
            finished: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
        }
    }

    fn lead(&self) {
        let _end = EndGuard(self);
        for stage in 0..self.stages.count_stages() {
            let chunks = self.stages.count_chunks(stage);
            self.finished.store(0, Ordering::Relaxed);
            // Release: the helpers read what earlier stages wrote.
            let start = (stage as u64) << 32;
            self.progress.store(start, Ordering::Release);
            while let Some(chunk) = self.take_chunk(stage, chunks) {
                let _guard = ChunkGuard(self);
                self.stages.run_chunk(stage, chunk, chunks, 0);
            }
            let mut spins = 0;
            while self.finished.load(Ordering::Acquire) < chunks {
                wait(&mut spins);
            }
            assert!(
                !self.has_failed.load(Ordering::Relaxed),
                "a chunk of a step panicked"
            );
        }
    }

    fn help(&self, worker: usize) {
        let mut spins = 0;
        loop {
            let progress = self.progress.load(Ordering::Acquire);
            if progress == u64::MAX {
                return;
            }
            let stage = (progress >> 32) as usize;
            let chunks = self.stages.count_chunks(stage);
            match self.take_chunk(stage, chunks) {
                Some(chunk) => {
                    let _guard = ChunkGuard(self);
                    self.stages.run_chunk(stage, chunk, chunks, worker);
                    spins = 0;
                }
                // The leader can finish alone.
                None if spins == MAX_WAITS => return,
                None => wait(&mut spins),
            }
        }
    }

    /// Takes the next chunk of a stage. Returns nothing if none is left, or if the stage is over.
    fn take_chunk(&self, stage: usize, chunks: usize) -> Option<usize> {
        let mut progress = self.progress.load(Ordering::Acquire);
        loop {
            let chunk = (progress & 0xffff_ffff) as usize;
            if (progress >> 32) as usize != stage || chunk >= chunks {
                return None;
            }
            let exchange = self.progress.compare_exchange_weak(
                progress,
                progress + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match exchange {
                Ok(_) => return Some(chunk),
                Err(current) => progress = current,
            }
        }
    }
}

/// Spins, and after a while lets other threads run.
fn wait(spins: &mut u32) {
    *spins += 1;
    if *spins < 4000 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri is several hundred times slower.
    const STAGES: usize = if cfg!(miri) { 30 } else { 500 };

    const RUNS: usize = if cfg!(miri) { 10 } else { 2_000 };

    struct Sums {
        counts: Vec<AtomicUsize>,
        panics_at: Option<usize>,
    }

    impl Stages for Sums {
        fn count_stages(&self) -> usize {
            self.counts.len()
        }

        fn count_chunks(&self, stage: usize) -> usize {
            stage % 7 + 1
        }

        fn run_chunk(&self, stage: usize, _: usize, chunks: usize, _: usize) {
            assert_ne!(Some(stage), self.panics_at, "a test of panics");
            if stage > 0 {
                let before = self.counts[stage - 1].load(Ordering::Relaxed);
                assert_eq!(before, self.count_chunks(stage - 1), "of {chunks}");
            }
            self.counts[stage].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sums(panics_at: Option<usize>) -> Sums {
        Sums {
            counts: (0..STAGES).map(|_| AtomicUsize::new(0)).collect(),
            panics_at,
        }
    }

    #[test]
    fn stages_run_in_order() {
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            let sums = sums(None);
            pool.install(|| run_stages(&sums, threads));
            for (stage, count) in sums.counts.iter().enumerate() {
                assert_eq!(count.load(Ordering::Relaxed), sums.count_chunks(stage));
            }
        }
    }

    #[test]
    fn no_chunk_is_free_before_the_leader_starts() {
        let sums = sums(None);
        let crew = Crew::new(&sums);
        assert_eq!(crew.take_chunk(0, usize::from(u16::MAX)), None);
        crew.lead();
        assert_eq!(sums.counts[0].load(Ordering::Relaxed), 1);
    }

    /// The threads are still awake from the run before, so they may arrive before the leader starts.
    #[test]
    fn helpers_of_runs_in_a_row_compute_each_chunk_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4);
        let pool = pool.build().unwrap();
        pool.install(|| {
            for _ in 0..RUNS {
                let mut sums = sums(None);
                sums.counts.truncate(20);
                run_stages(&sums, 8);
                for (stage, count) in sums.counts.iter().enumerate() {
                    assert_eq!(count.load(Ordering::Relaxed), sums.count_chunks(stage));
                }
            }
        });
    }

    #[test]
    fn a_panic_ends_the_run() {
        let sums = sums(Some(STAGES / 2));
        let run = std::panic::AssertUnwindSafe(|| run_stages(&sums, 3));
        assert!(std::panic::catch_unwind(run).is_err());
        assert_eq!(sums.counts[STAGES / 2 + 1].load(Ordering::Relaxed), 0);
    }
}
