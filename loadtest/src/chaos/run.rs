//! One run from its plan to its report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;

use super::Arguments;
use super::board::Board;
use super::compare::{self, Wanted};
use super::content::Pictures;
use super::disk::Hand;
use super::faults::{Planned, Role};
use super::looks::Looks;
use super::operations::{BASES, LIBRARIES, Operation};
use super::plan::Plan;
use super::report::Report;
use super::system::System;

/// An event that a worker holds so long goes to another one.
const ACK_WAIT: Duration = Duration::from_secs(4);

/// How long the roles may take until a search would be answered.
const START_PATIENCE: Duration = Duration::from_secs(180);

/// How often the processes are looked after.
const TICK: Duration = Duration::from_millis(50);

/// How often progress is shown.
const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// One run with everything that it needs.
struct Run<'a> {
    arguments: &'a Arguments,
    libraries: PathBuf,
    plan: Plan,
    pictures: Arc<Pictures>,
    board: Board,
    looks: Looks,
    report: Report,
    /// Whether Ctrl-C was pressed.
    interrupted: watch::Receiver<bool>,
}

/// Runs one seed.
pub(super) async fn run(
    arguments: &Arguments,
    program: &Path,
    seed: u64,
) -> anyhow::Result<Report> {
    let roles = if arguments.standby {
        &Role::ALL[..]
    } else {
        &Role::ALL[..4]
    };
    let base = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = base.join(format!("lookalike-chaos-{}-{seed}", std::process::id()));
    let libraries = dir.join("libraries");
    for library in LIBRARIES {
        std::fs::create_dir_all(libraries.join(library))
            .with_context(|| libraries.display().to_string())?;
    }
    let board = Board::default();
    let (told, interrupted) = watch::channel(false);
    let listening = tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            let _ = told.send(true);
        }
    });
    let mut run = Run {
        arguments,
        libraries,
        plan: Plan::new(
            seed,
            arguments.length(),
            arguments.files as usize,
            roles,
            ACK_WAIT,
        ),
        pictures: Arc::new(Pictures::paint(seed, BASES)?),
        looks: Looks::new(&board)?,
        report: Report {
            seed,
            ..Report::default()
        },
        board,
        interrupted,
    };
    let outcome = run.all(program, &dir, roles).await;
    listening.abort();
    let mut report = run.report;
    report.take(&run.board);
    let is_good = outcome.is_ok() && (report.is_good() || report.interrupted);
    if arguments.keep || !is_good {
        report.kept = Some(dir.clone());
    } else {
        let _ = std::fs::remove_dir_all(&dir);
    }
    outcome.with_context(|| format!("seed {seed}; its folder is {}", dir.display()))?;
    Ok(report)
}

impl Run<'_> {
    async fn all(&mut self, program: &Path, dir: &Path, roles: &[Role]) -> anyhow::Result<()> {
        let mut hand = Hand::new(&self.libraries, &self.pictures);
        for step in &self.plan.before.steps {
            hand.apply(step)?;
        }
        let (seed, files) = (self.report.seed, self.plan.before.files);
        eprintln!("seed {seed}: {files} files lie there; starting everything");
        let mut system = System::start(program, dir, roles, ACK_WAIT, &self.board).await?;
        let done = self.with(&mut system).await;
        let panics = system.panics()?;
        if let Err(error) = &done {
            eprintln!("seed {seed}: {error:#}");
        }
        system.stop().await;
        for panic in panics {
            self.board.complain(panic);
        }
        done
    }

    async fn with(&mut self, system: &mut System) -> anyhow::Result<()> {
        self.wait_until_ready(system).await?;
        let looks = self.looks.clone();
        let (seed, pictures) = (self.report.seed, Arc::clone(&self.pictures));
        let asking = tokio::spawn(async move { looks.go_on(seed, pictures).await });
        let done = match self.report.interrupted {
            true => Ok(()),
            false => self.trouble(system).await,
        };
        let proved = match done {
            Ok(()) if !self.report.interrupted => self.prove(system).await,
            done => done,
        };
        asking.abort();
        proved
    }

    async fn wait_until_ready(&mut self, system: &mut System) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            system.tend()?;
            let ready = self.looks.get("/readyz").await;
            if ready.is_some_and(|answer| answer.status == 200) {
                // What was refused until now is no wonder.
                self.board.notes().complaints.clear();
                return Ok(());
            }
            anyhow::ensure!(
                begun.elapsed() < START_PATIENCE,
                "the service was not ready within {} s",
                START_PATIENCE.as_secs()
            );
            if self.wait(TICK).await {
                return Ok(());
            }
        }
    }

    /// Operations on one thread, faults here, until the plan is done or Ctrl-C; then everything is
    /// healed.
    async fn trouble(&mut self, system: &mut System) -> anyhow::Result<()> {
        let operations = std::mem::take(&mut self.plan.operations);
        let faults = std::mem::take(&mut self.plan.faults);
        self.report.faults_at_once = at_once(&faults);
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let begun = Instant::now();
        let hands = {
            let (folder, pictures) = (self.libraries.clone(), Arc::clone(&self.pictures));
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::task::spawn_blocking(move || {
                let counted = operate(&operations, &folder, &pictures, begun, &stop, &done);
                counted.map(|_| operations)
            })
        };
        let mut ends: Vec<Planned> = Vec::new();
        let mut next = faults.iter().peekable();
        let mut shown = Instant::now();
        let length = self.arguments.length();
        while begun.elapsed() < length || !hands.is_finished() {
            let now = begun.elapsed();
            let (over, under_way) = ends.into_iter().partition(|fault| fault.until <= now);
            ends = under_way;
            for fault in over {
                system.end(fault.fault)?;
            }
            while let Some(fault) = next.next_if(|fault| fault.from <= now && now < length) {
                system.begin(fault.fault)?;
                *self.report.faults.entry(fault.fault.kind()).or_default() += 1;
                ends.push(*fault);
            }
            system.tend()?;
            if hands.is_finished() && now >= length {
                break;
            }
            if shown.elapsed() >= PROGRESS_PAUSE {
                shown = Instant::now();
                let current: Vec<String> = ends.iter().map(|fault| fault.fault.kind()).collect();
                self.show(&format!(
                    "{:.0} of {:.0} s, {} operations, now: {}",
                    now.as_secs_f64(),
                    length.as_secs_f64(),
                    done.load(Ordering::Relaxed),
                    current.join(", ")
                ));
            }
            if self.wait(TICK).await {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        system.heal()?;
        self.report.trouble = begun.elapsed();
        let operations = hands.await.context("the hand panicked")??;
        for (_, operation) in operations.iter().take(done.load(Ordering::Relaxed)) {
            *self.report.operations.entry(operation.kind).or_default() += 1;
            self.report.files_touched += operation.files;
        }
        Ok(())
    }

    /// Waits so long, or until Ctrl-C, and says whether it was pressed.
    async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            Ok(_) = self.interrupted.wait_for(|pressed| *pressed) => {
                self.report.interrupted = true;
            }
            () = tokio::time::sleep(pause) => {}
        }
        self.report.interrupted
    }

    fn show(&self, line: &str) {
        eprintln!("seed {}: {line}", self.report.seed);
    }

    /// Waits until the system says that it is at rest and until the index equals the folders.
    async fn prove(&mut self, system: &mut System) -> anyhow::Result<()> {
        let healed = Instant::now();
        let wanted = Wanted::read(&self.libraries, &self.plan.tree)?;
        self.report.files = wanted.files();
        self.report.pictures = wanted.pictures();
        self.show(&format!("healed; {} files are on disk", wanted.files()));
        let patience = Duration::from_secs(self.arguments.patience);
        let mut shown = Instant::now();
        let mut rested = None;
        let mut equal_once = false;
        loop {
            system.tend()?;
            let rests = match self.looks.stats().await {
                Some(stats) => compare::at_rest(&stats, &wanted),
                None => Err("the service does not tell its counts".to_owned()),
            };
            let state = match rests {
                Ok(()) => {
                    let rested = rested.get_or_insert_with(Instant::now);
                    self.report.until_rest = Some(*rested - healed);
                    compare::differences(&self.looks, &wanted).await
                }
                Err(why) => Err(why),
            };
            if let (Some(rested), Ok(differences)) = (rested, &state)
                && differences.is_empty()
            {
                self.report
                    .until_equal
                    .get_or_insert_with(|| rested.elapsed());
                // It must also stay so: what is late could still undo it.
                if equal_once {
                    self.looks.metrics().await;
                    self.report.differences.clear();
                    return Ok(());
                }
                equal_once = true;
                self.linger(system).await?;
                continue;
            }
            if equal_once {
                self.board
                    .complain("the index equalled the folders, and then no more");
                equal_once = false;
                self.report.until_equal = None;
            }
            let line = match state {
                Ok(differences) => {
                    let line = format!("at rest, with {} differences", differences.len());
                    self.report.differences = differences;
                    line
                }
                Err(why) => {
                    self.report.differences = vec![why.clone()];
                    why
                }
            };
            if healed.elapsed() > patience {
                self.looks.metrics().await;
                return Ok(());
            }
            if shown.elapsed() >= PROGRESS_PAUSE {
                shown = Instant::now();
                self.show(&line);
            }
            if self.wait(TICK * 10).await {
                return Ok(());
            }
        }
    }

    /// Waits as long as a late worker could still hold an event.
    async fn linger(&self, system: &mut System) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < ACK_WAIT + ACK_WAIT / 2 {
            system.tend()?;
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }
}

/// The most faults that are under way at once.
fn at_once(faults: &[Planned]) -> usize {
    let others = |fault: &Planned| {
        let from = fault.from;
        let overlap = |other: &&Planned| other.from <= from && from < other.until;
        faults.iter().filter(overlap).count()
    };
    faults.iter().map(others).max().unwrap_or(0)
}

/// Does the operations at their times, or as soon as the ones before are done.
fn operate(
    operations: &[(Duration, Operation)],
    folder: &Path,
    pictures: &Pictures,
    begun: Instant,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> anyhow::Result<()> {
    let mut hand = Hand::new(folder, pictures);
    for (at, operation) in operations {
        while begun.elapsed() < *at && !stop.load(Ordering::Relaxed) {
            std::thread::sleep((*at - begun.elapsed().min(*at)).min(TICK));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for step in &operation.steps {
            hand.apply(step)?;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    hand.heal()
}
