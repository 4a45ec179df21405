//! One run, from its plan to its report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lookalike_chassis::stdio;
use tokio::sync::watch;

use crate::chaos::arguments::ChaosArguments;
use crate::chaos::observe::compare::{self, ExpectedIndex};
use crate::chaos::observe::probe::ProbeClient;
use crate::chaos::observe::recorder::Recorder;
use crate::chaos::plan::ChaosPlan;
use crate::chaos::plan::content::PaintedPictures;
use crate::chaos::plan::faults::{PlannedFault, RoleProcess};
use crate::chaos::plan::operations::{BASE_PICTURES, LIBRARIES, Operation};
use crate::chaos::report::ChaosReport;
use crate::chaos::system::ChaosSystem;
use crate::chaos::system::folders::DiskOperator;

/// JetStream redelivers an event that was not acknowledged within this time.
const ACK_WAIT: Duration = Duration::from_secs(4);

/// How long the service may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// How often processes and faults are checked.
const TICK_INTERVAL: Duration = Duration::from_millis(50);

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

struct ChaosRun<'a> {
    arguments: &'a ChaosArguments,
    libraries: PathBuf,
    plan: ChaosPlan,
    pictures: Arc<PaintedPictures>,
    recorder: Recorder,
    probe: ProbeClient,
    report: ChaosReport,
    interrupted: watch::Receiver<bool>,
}

pub(super) async fn run(
    arguments: &ChaosArguments,
    program: &Path,
    seed: u64,
) -> anyhow::Result<ChaosReport> {
    let roles = if arguments.standby {
        &RoleProcess::ALL[..]
    } else {
        &RoleProcess::ALL[..4]
    };
    let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = base.join(format!("lookalike-chaos-{}-{seed}", std::process::id()));
    let libraries = dir.join("libraries");
    for library in LIBRARIES {
        std::fs::create_dir_all(libraries.join(library))
            .with_context(|| libraries.display().to_string())?;
    }
    let recorder = Recorder::default();
    let (interrupt_sender, interrupted) = watch::channel(false);
    let listening = tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = interrupt_sender.send(true);
        }
    });
    let mut run = ChaosRun {
        arguments,
        libraries,
        plan: ChaosPlan::new(
            seed,
            arguments.fault_duration(),
            arguments.files as usize,
            roles,
            ACK_WAIT,
        ),
        pictures: Arc::new(PaintedPictures::paint_bases(seed, BASE_PICTURES)?),
        probe: ProbeClient::new(&recorder)?,
        report: ChaosReport {
            seed,
            ..ChaosReport::default()
        },
        recorder,
        interrupted,
    };
    let outcome = run.run_with_system(program, &dir, roles).await;
    listening.abort();
    let mut report = run.report;
    report.take_records(&run.recorder);
    let succeeded = outcome.is_ok() && (report.is_success() || report.interrupted);
    if arguments.keep || !succeeded {
        report.kept = Some(dir.clone());
    } else {
        let _ = std::fs::remove_dir_all(&dir);
    }
    outcome.with_context(|| format!("seed {seed}; see its folder {}", dir.display()))?;
    Ok(report)
}

impl ChaosRun<'_> {
    async fn run_with_system(
        &mut self,
        program: &Path,
        dir: &Path,
        roles: &[RoleProcess],
    ) -> anyhow::Result<()> {
        let mut operator = DiskOperator::new(&self.libraries, &self.pictures);
        for step in &self.plan.initial.steps {
            operator.apply_step(step)?;
        }
        let (seed, files) = (self.report.seed, self.plan.initial.files);
        stdio::eprint_line(&format!(
            "seed {seed}: created {files} files; starting servers and roles"
        ));
        let mut system = ChaosSystem::start(program, dir, roles, ACK_WAIT, &self.recorder).await?;
        let outcome = self.run_phases(&mut system).await;
        let panics = system.find_panics()?;
        if let Err(error) = &outcome {
            stdio::eprint_line(&format!("seed {seed}: {error:#}"));
        }
        system.stop().await;
        for panic in panics {
            self.recorder.record_violation(panic);
        }
        outcome
    }

    async fn run_phases(&mut self, system: &mut ChaosSystem) -> anyhow::Result<()> {
        self.wait_until_ready(system).await?;
        let probe = self.probe.clone();
        let (seed, pictures) = (self.report.seed, Arc::clone(&self.pictures));
        let probing = tokio::spawn(async move { probe.probe_forever(seed, pictures).await });
        let faulted = match self.report.interrupted {
            true => Ok(()),
            false => self.inject_faults(system).await,
        };
        let proved = match faulted {
            Ok(()) if !self.report.interrupted => self.prove_equality(system).await,
            other => other,
        };
        probing.abort();
        proved
    }

    async fn wait_until_ready(&mut self, system: &mut ChaosSystem) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            system.tend_processes()?;
            let ready = self.probe.get_path("/readyz").await;
            if ready.is_some_and(|response| response.status == 200) {
                // Failed requests during the start do not count.
                self.recorder.lock_records().violations.clear();
                return Ok(());
            }
            anyhow::ensure!(
                started.elapsed() < READY_TIMEOUT,
                "the service was not ready within {} s",
                READY_TIMEOUT.as_secs()
            );
            if self.wait_or_interrupt(TICK_INTERVAL).await {
                return Ok(());
            }
        }
    }

    /// Applies operations on a thread of their own and faults here, until the plan is done or Ctrl-C is
    /// pressed. Then active_faults all faults.
    async fn inject_faults(&mut self, system: &mut ChaosSystem) -> anyhow::Result<()> {
        let operations = std::mem::take(&mut self.plan.operations);
        let faults = std::mem::take(&mut self.plan.faults);
        self.report.max_concurrent_faults = max_overlap(&faults);
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let started = Instant::now();
        let disk_task = {
            let (folder, pictures) = (self.libraries.clone(), Arc::clone(&self.pictures));
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::task::spawn_blocking(move || {
                let applied =
                    apply_operations(&operations, &folder, &pictures, started, &stop, &done);
                applied.map(|()| operations)
            })
        };
        let mut active_faults: Vec<PlannedFault> = Vec::new();
        let mut next = faults.iter().peekable();
        let mut last_shown = Instant::now();
        let length = self.arguments.fault_duration();
        while started.elapsed() < length || !disk_task.is_finished() {
            let now = started.elapsed();
            let (ended, active): (Vec<_>, Vec<_>) = active_faults
                .into_iter()
                .partition(|planned| planned.until <= now);
            active_faults = active;
            for planned in ended {
                system.end_fault(planned.fault)?;
            }
            while let Some(planned) = next.next_if(|planned| planned.from <= now && now < length) {
                system.begin_fault(planned.fault)?;
                let kind = planned.fault.kind_name();
                *self.report.faults.entry(kind).or_default() += 1;
                active_faults.push(*planned);
            }
            system.tend_processes()?;
            if disk_task.is_finished() && now >= length {
                break;
            }
            if last_shown.elapsed() >= PROGRESS_INTERVAL {
                last_shown = Instant::now();
                let current: Vec<String> = active_faults
                    .iter()
                    .map(|planned| planned.fault.kind_name())
                    .collect();
                self.show_progress(&format!(
                    "{:.0} of {:.0} s, {} operations, now: {}",
                    now.as_secs_f64(),
                    length.as_secs_f64(),
                    done.load(Ordering::Relaxed),
                    current.join(", ")
                ));
            }
            if self.wait_or_interrupt(TICK_INTERVAL).await {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        system.end_all_faults()?;
        self.report.fault_duration = started.elapsed();
        let operations = disk_task.await.context("the operations panicked")??;
        for (_, operation) in operations.iter().take(done.load(Ordering::Relaxed)) {
            *self.report.operations.entry(operation.kind).or_default() += 1;
            self.report.files_touched += operation.files;
        }
        Ok(())
    }

    /// Waits for `pause` or until Ctrl-C is pressed; returns whether it was pressed.
    async fn wait_or_interrupt(&mut self, pause: Duration) -> bool {
        tokio::select! {
            Ok(_) = self.interrupted.wait_for(|pressed| *pressed) => {
                self.report.interrupted = true;
            }
            () = tokio::time::sleep(pause) => {}
        }
        self.report.interrupted
    }

    fn show_progress(&self, line: &str) {
        stdio::eprint_line(&format!("seed {}: {line}", self.report.seed));
    }

    /// Waits until the system reports that nothing is in flight and until the index matches the folders.
    async fn prove_equality(&mut self, system: &mut ChaosSystem) -> anyhow::Result<()> {
        let faults_ended = Instant::now();
        let expected = ExpectedIndex::read_from_disk(&self.libraries, &self.plan.tree)?;
        self.report.files = expected.file_count();
        self.report.pictures = expected.picture_count();
        self.show_progress(&format!(
            "all faults ended; {} files are on disk",
            expected.file_count()
        ));
        let convergence_timeout = Duration::from_secs(self.arguments.convergence_seconds);
        let mut last_shown = Instant::now();
        let mut rested_since = None;
        let mut equal_once = false;
        loop {
            system.tend_processes()?;
            let at_rest = match self.probe.read_stats().await {
                Some(stats) => compare::check_at_rest(&stats, &expected),
                None => Err("the service reports no counts".to_owned()),
            };
            let state = match at_rest {
                Ok(()) => {
                    let rested = rested_since.get_or_insert_with(Instant::now);
                    self.report.time_to_rest = Some(*rested - faults_ended);
                    compare::find_differences(&self.probe, &expected).await
                }
                Err(why) => Err(why),
            };
            if let (Some(rested), Ok(differences)) = (rested_since, &state)
                && differences.is_empty()
            {
                self.report
                    .time_to_equal
                    .get_or_insert_with(|| rested.elapsed());
                // It must also stay equal: a late write could still change it.
                if equal_once {
                    self.probe.read_metrics().await;
                    self.report.differences.clear();
                    return Ok(());
                }
                equal_once = true;
                self.wait_for_stragglers(system).await?;
                continue;
            }
            // A scan, or a service that is slow to reply, is no difference.
            if equal_once && state.is_ok() {
                self.recorder
                    .record_violation("the index matched the folders and then differed again");
                equal_once = false;
                self.report.time_to_equal = None;
            }
            let line = match state {
                Ok(differences) => {
                    let line = format!("nothing in flight, {} differences", differences.len());
                    self.report.differences = differences;
                    line
                }
                Err(why) => {
                    self.report.differences = vec![why.clone()];
                    why
                }
            };
            if faults_ended.elapsed() > convergence_timeout {
                self.probe.read_metrics().await;
                return Ok(());
            }
            if last_shown.elapsed() >= PROGRESS_INTERVAL {
                last_shown = Instant::now();
                self.show_progress(&line);
            }
            if self.wait_or_interrupt(TICK_INTERVAL * 10).await {
                return Ok(());
            }
        }
    }

    /// Waits as long as a slow worker could still process an event.
    async fn wait_for_stragglers(&self, system: &mut ChaosSystem) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < ACK_WAIT + ACK_WAIT / 2 {
            system.tend_processes()?;
            tokio::time::sleep(TICK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Returns how many faults are active at the same time at most.
fn max_overlap(faults: &[PlannedFault]) -> usize {
    let others = |fault: &PlannedFault| {
        let from = fault.from;
        let overlap = |other: &&PlannedFault| other.from <= from && from < other.until;
        faults.iter().filter(overlap).count()
    };
    faults.iter().map(others).max().unwrap_or(0)
}

/// Applies each operation at its time, or as soon as the earlier ones are done.
fn apply_operations(
    operations: &[(Duration, Operation)],
    folder: &Path,
    pictures: &PaintedPictures,
    started: Instant,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> anyhow::Result<()> {
    let mut operator = DiskOperator::new(folder, pictures);
    for (planned_at, operation) in operations {
        while started.elapsed() < *planned_at && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(
                (*planned_at - started.elapsed().min(*planned_at)).min(TICK_INTERVAL),
            );
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for step in &operation.steps {
            operator.apply_step(step)?;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    operator.restore_all()
}
