//! Events → rows: takes events from the queue, reads and hashes each file once, embeds what is
//! not known, writes rows to Milvus, and tells what became of each. It also answers queries for
//! a vector, ahead of everything it indexes.
//!
//! Every event in hand is a task of its own, so that a large or slow file holds up nobody; the
//! device, the look-up of known content and the commit each gather what is ready at the moment.

mod absent;
pub mod audit;
mod breaker;
mod check;
mod commit;
mod decoding;
mod ending;
mod error;
mod file;
mod folder;
mod follow;
mod golden;
mod hand;
mod intake;
mod known;
mod metrics;
mod patience;
mod prepare;
mod queries;
mod rows;
mod settings;
mod strays;
pub mod switch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lookalike_bus::{Bus, EmbedderStatus};
use lookalike_index::Index;
use lookalike_proto::{Library, State};
use lookalike_vision::{Engine, Limits};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::Error;
pub use follow::{Load, run};
pub use settings::Settings;

use absent::Absent;
use breaker::Breaker;
use commit::Committer;
use ending::Ending;
use folder::Folder;
use follow::Beside;
use hand::{Hand, Held};
use intake::TakeIn;
use known::{Lookup, Remembered};
use prepare::Preparer;
use strays::Strays;

/// How long the commit has to notice that it is to give up, and how long what is still in hand has
/// to be put off.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What an embedder is made of.
#[derive(Clone)]
pub struct Context {
    /// Limits.
    pub settings: Settings,
    /// The libraries whose files this worker can read, with their root folders.
    pub libraries: BTreeMap<Library, PathBuf>,
    /// Events, outcomes, queries.
    pub bus: Bus,
    /// How long JetStream waits for a sign of life.
    pub ack_wait: Duration,
    /// Rows.
    pub index: Index,
    /// The network.
    pub engine: Arc<Engine>,
    /// Limits of decoding.
    pub limits: Limits,
    /// Threads that may decode at once.
    pub decode_threads: usize,
    /// Somebody starts a worker anew that ends: it ends when too many decoders hang. Otherwise it
    /// goes on without taking anything in.
    pub is_restarted: bool,
    /// When to audit the index, and how.
    pub audit: audit::Settings,
    /// Distinguishes this worker from others; part of a key, so of `a-z`, `0-9`, `-` and `_`.
    pub instance: String,
}

/// Works for one model until `leave`; see [`run`].
async fn work(context: Context, said: Beside, leave: CancellationToken) -> Result<(), Error> {
    metrics::register();
    tracing::info!("embedding with {}", context.engine.device_line());
    let Context {
        settings,
        bus,
        index,
        engine,
        ..
    } = &context;
    let give_up = CancellationToken::new();
    let ending = Ending::with(&leave);
    let hand = Arc::new(Hand::default());
    let breaker = Arc::new(Breaker::new(settings.pause_after));
    let strays = Strays::new(settings.max_strays);
    let remembered = Arc::new(Remembered::new(settings.remembered_contents));
    let memory_mebibytes = u32::try_from((settings.max_bytes_in_memory >> 20).max(1))
        .unwrap_or(u32::MAX)
        .min(u32::try_from(Semaphore::MAX_PERMITS >> 3).unwrap_or(u32::MAX));
    let folders = context.libraries.iter().map(|(library, root)| {
        let folder = Folder::new(library.as_str(), root.clone(), settings);
        (library.clone(), folder)
    });
    let preparer = Arc::new(Preparer {
        folders: folders.collect(),
        absent: Absent::default(),
        engine: engine.clone(),
        limits: context.limits.clone(),
        lookup: Lookup::start(index.clone(), breaker.clone(), settings.max_in_hand),
        remembered: remembered.clone(),
        decoders: Arc::new(Semaphore::new(context.decode_threads.max(1))),
        memory: Arc::new(Semaphore::new(memory_mebibytes as usize)),
        memory_mebibytes,
        alone: RwLock::new(()),
        bus: bus.clone(),
        strays: strays.clone(),
        ending: ending.clone(),
    });
    let (ready, to_commit) = mpsc::channel(settings.max_in_hand.max(1));
    let committer = Committer {
        index: index.clone(),
        bus: bus.clone(),
        model: engine.description().name.clone(),
        most_rows: settings.commit_rows,
        breaker: breaker.clone(),
        remembered,
        give_up: give_up.clone(),
    };
    let beside = TaskTracker::new();
    let ended = CancellationToken::new();
    let aside = said.stands_aside();
    beside.spawn(rows::answer(
        bus.clone(),
        index.clone(),
        aside.clone(),
        ended.clone(),
    ));
    beside.spawn(report_progress(
        hand.clone(),
        context.ack_wait / 3,
        ended.clone(),
    ));
    beside.spawn(tell_status(
        bus.clone(),
        status_of(&context, said),
        ended.clone(),
    ));
    let auditor = audit::Auditor::new(
        bus.clone(),
        index.clone(),
        bus.follow_status(ended.clone()),
        context.audit.clone(),
    );
    beside.spawn(audit::keep_equal(
        auditor,
        bus.clone(),
        context.instance.clone(),
        aside.clone(),
        ended.clone(),
    ));
    if context.is_restarted {
        beside.spawn(end_of_strays(strays.clone(), ending.clone(), ended.clone()));
    }
    beside.close();

    let workers = TaskTracker::new();
    let intake = TakeIn {
        bus: bus.clone(),
        index: index.clone(),
        patience: settings.patience,
        leave: ending.leave.clone(),
        hand: hand.clone(),
        room: Arc::new(Semaphore::new(settings.max_in_hand.max(1))),
        preparer,
        breaker,
        strays,
        aside,
        workers: workers.clone(),
    };
    let mut commit = tokio::spawn(committer.run(to_commit));
    let finish = async {
        // Nothing is taken in by a device that moves vectors.
        if let Err(error) = golden::is_kept(index, engine, &ending.leave).await {
            ending.because(error.into());
        }
        tokio::select! {
            () = intake.run(ready) => {}
            finished = &mut commit => return finished,
        }
        // Nothing new is taken in. What is in hand goes on to its commit, and the channel closes
        // behind the last one.
        workers.close();
        (&mut commit).await
    };
    // The clock runs from the moment of leaving, whatever waits for an answer then.
    let too_late = async {
        ending.leave.cancelled().await;
        tokio::time::sleep(settings.drain).await;
    };
    let finished = tokio::select! {
        finished = finish => Some(finished),
        () = too_late => None,
    };
    let mut unfinished = hand.all();
    let finished = match finished {
        Some(finished) => finished,
        None => {
            tracing::warn!("leaving without finishing what is in hand");
            give_up.cancel();
            // Whatever is cut off here was not acknowledged, and doing it again is harmless.
            match tokio::time::timeout(LAST_WORD, &mut commit).await {
                Ok(finished) => finished,
                Err(_) => {
                    commit.abort();
                    Ok(Ok(()))
                }
            }
        }
    };
    unfinished.retain(|held| !held.is_answered());
    if !unfinished.is_empty() {
        put_off(bus, unfinished).await;
    }
    ended.cancel();
    beside.wait().await;
    // Sends what is still buffered.
    let _ = tokio::time::timeout(LAST_WORD, bus.flush()).await;
    match finished {
        Ok(Ok(())) => ending.why().map_or(Ok(()), Err),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Says that these events were not done, so that they are sent again, and takes them out of the
/// queue. Where NATS does not take that either, they are delivered again.
async fn put_off(bus: &Bus, unfinished: Vec<Arc<Held>>) {
    let reason = "the worker that had it left";
    let outcomes: Vec<_> = unfinished
        .iter()
        .map(|held| {
            held.outcome(State::PutOff {
                detail: reason.to_owned(),
            })
        })
        .collect();
    let put_off = async {
        let results = bus.publish_outcomes(&outcomes).await;
        let told = unfinished.iter().zip(results);
        let acknowledged = told.filter_map(|(held, result)| {
            result.ok()?;
            metrics::PUT_OFF.inc();
            Some(held.delivery.acknowledge())
        });
        join_all(acknowledged).await.into_iter().flatten().count()
    };
    let (count, most) = (unfinished.len(), LAST_WORD);
    match tokio::time::timeout(most, put_off).await {
        Ok(done) => tracing::info!(done, count, "put off what was not finished"),
        Err(_) => tracing::warn!(count, "what was not finished is delivered again, later"),
    }
}

/// Ends the worker when too many decoders hang.
async fn end_of_strays(strays: Arc<Strays>, ending: Ending, ended: CancellationToken) {
    if ended
        .run_until_cancelled(strays.until(true))
        .await
        .is_some()
    {
        let count = strays.too_many().unwrap_or_default();
        ending.because(Error::Strays { count });
    }
}

async fn report_progress(hand: Arc<Hand>, every: Duration, ended: CancellationToken) {
    while !ended.is_cancelled() {
        tokio::select! {
            () = ended.cancelled() => {}
            () = tokio::time::sleep(every) => {
                // While NATS is away, saying so may wait: leaving must not.
                ended.run_until_cancelled(hand.report_progress(every / 2)).await;
            }
        }
    }
}

fn status_of(context: &Context, said: Beside) -> impl Fn() -> EmbedderStatus + use<> {
    let description = context.engine.description();
    let status = EmbedderStatus {
        instance: context.instance.clone(),
        model: description.name.clone(),
        dimension: description.dimension,
        checksum: context.index.model().checksum.clone(),
        device: context.engine.device_line(),
        embedded: 0,
        reused: 0,
        intake_paused: false,
        collection: String::new(),
        also_answers: Vec::new(),
        left_behind: None,
    };
    let index = context.index.clone();
    move || EmbedderStatus {
        embedded: metrics::EMBEDDINGS.get(),
        reused: metrics::REUSED.get(),
        intake_paused: metrics::INTAKE_PAUSED.get() != 0,
        collection: index.collection().to_string(),
        also_answers: said.also_answers(&status.checksum),
        left_behind: said.left_behind(),
        ..status.clone()
    }
}

/// Tells what this worker is like: at a change, though not more than once a second, and every
/// ten seconds.
async fn tell_status(bus: Bus, status: impl Fn() -> EmbedderStatus, ended: CancellationToken) {
    let mut told = None;
    let mut seconds = 0_u32;
    while !ended.is_cancelled() {
        let now = status();
        if told.as_ref() != Some(&now) || seconds.is_multiple_of(10) {
            match ended.run_until_cancelled(bus.tell_embedder(&now)).await {
                None => return,
                Some(Ok(())) => told = Some(now),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the status can't be told now");
                    told = None;
                }
            }
        }
        seconds = seconds.wrapping_add(1);
        tokio::select! {
            () = ended.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
