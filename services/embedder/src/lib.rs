//! Events → rows: takes events from the queue, reads and hashes each file once, embeds what is
//! not known, writes rows to Milvus, and tells what became of each. It also answers queries for
//! a vector, ahead of everything it indexes.
//!
//! Every event in hand is a task of its own, so that a large or slow file holds up nobody; the
//! device, the look-up of known content and the commit each gather what is ready at the moment.

mod commit;
mod file;
mod hand;
mod known;
mod metrics;
mod prepare;
mod queries;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, EmbedderStatus, Error as BusError, Intake};
use lookalike_chassis::Backoff;
use lookalike_index::{Error as IndexError, Index};
use lookalike_proto::Library;
use lookalike_vision::{Engine, Limits};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use settings::Settings;

use commit::{Committer, Ready};
use hand::Hand;
use known::{Lookup, Remembered};
use prepare::Preparer;

/// How long the commit has to notice that it is to give up.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What an embedder is made of.
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
    /// Distinguishes this worker from others; part of a key, so of `a-z`, `0-9`, `-` and `_`.
    pub instance: String,
}

/// Works until `leave`; then finishes what is in hand, for `settings.drain` at most.
///
/// # Errors
/// When Milvus refuses this worker for good (another model, wrong credentials).
pub async fn run(context: Context, leave: CancellationToken) -> Result<(), IndexError> {
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
    let hand = Arc::new(Hand::default());
    let room = Arc::new(Semaphore::new(settings.max_in_hand.max(1)));
    let memory_mebibytes = u32::try_from((settings.max_bytes_in_memory >> 20).max(1))
        .unwrap_or(u32::MAX)
        .min(u32::try_from(Semaphore::MAX_PERMITS >> 3).unwrap_or(u32::MAX));
    let preparer = Arc::new(Preparer {
        libraries: context.libraries.clone(),
        engine: engine.clone(),
        limits: context.limits.clone(),
        lookup: Lookup::start(index.clone(), settings.max_in_hand),
        remembered: Remembered::new(settings.remembered_contents),
        decoders: Arc::new(Semaphore::new(context.decode_threads.max(1))),
        memory: Arc::new(Semaphore::new(memory_mebibytes as usize)),
        memory_mebibytes,
        alone: RwLock::new(()),
        bus: bus.clone(),
    });
    let (ready, to_commit) = mpsc::channel(settings.max_in_hand.max(1));
    let committer = Committer {
        index: index.clone(),
        bus: bus.clone(),
        model: engine.description().name.clone(),
        most_rows: settings.commit_rows,
        give_up: give_up.clone(),
    };
    let beside = TaskTracker::new();
    let ended = CancellationToken::new();
    beside.spawn(queries::answer(
        bus.clone(),
        engine.clone(),
        settings.max_queries,
        ended.clone(),
    ));
    beside.spawn(report_progress(
        hand.clone(),
        context.ack_wait / 3,
        ended.clone(),
    ));
    beside.spawn(tell_status(bus.clone(), status_of(&context), ended.clone()));
    beside.close();

    let workers = TaskTracker::new();
    let intake = take_in(&context, &leave, &hand, &room, &preparer, &workers, ready);
    let mut commit = tokio::spawn(committer.run(to_commit));
    let finish = async {
        tokio::select! {
            () = intake => {}
            finished = &mut commit => return finished,
        }
        // Nothing new is taken in. What is in hand goes on to its commit, and the channel closes
        // behind the last one.
        workers.close();
        (&mut commit).await
    };
    // The clock runs from the moment of leaving, whatever waits for an answer then.
    let too_late = async {
        leave.cancelled().await;
        tokio::time::sleep(settings.drain).await;
    };
    let finished = tokio::select! {
        finished = finish => Some(finished),
        () = too_late => None,
    };
    let finished = match finished {
        Some(finished) => finished,
        None => {
            tracing::warn!("leaving without finishing what is in hand; it comes again");
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
    ended.cancel();
    beside.wait().await;
    bus.flush().await;
    match finished {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Takes events in while there is room, until `leave`.
async fn take_in(
    context: &Context,
    leave: &CancellationToken,
    hand: &Arc<Hand>,
    room: &Arc<Semaphore>,
    preparer: &Arc<Preparer>,
    workers: &TaskTracker,
    ready: mpsc::Sender<Ready>,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut intake: Option<Intake> = None;
    while !leave.is_cancelled() {
        let open = match intake.take() {
            Some(open) => Ok(open),
            None => context.bus.intake().await,
        };
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                mend(context, &error, &mut backoff, leave).await;
                continue;
            }
        };
        let first = tokio::select! {
            () = leave.cancelled() => return,
            first = room.clone().acquire_owned() => first.expect("this semaphore is never closed"),
        };
        let mut rooms = vec![first];
        while let Ok(more) = room.clone().try_acquire_owned() {
            rooms.push(more);
        }
        // Not cut off by `leave`: a message that was delivered must come into somebody's hands.
        match open
            .take(rooms.len(), context.settings.patience, leave)
            .await
        {
            Ok(deliveries) => {
                backoff.reset();
                for (delivery, room) in deliveries.into_iter().zip(rooms) {
                    if delivery.deliveries > 1 {
                        metrics::REDELIVERIES.inc();
                    }
                    let held = hand.take(delivery, room);
                    let (preparer, ready) = (preparer.clone(), ready.clone());
                    workers.spawn(async move {
                        let one = preparer.prepare(held).await;
                        // Where the commit has ended, the event comes again by itself.
                        let _ = ready.send(one).await;
                    });
                }
                intake = Some(open);
            }
            Err(error) => mend(context, &error, &mut backoff, leave).await,
        }
    }
}

async fn mend(
    context: &Context,
    error: &BusError,
    backoff: &mut Backoff,
    leave: &CancellationToken,
) {
    let wait = backoff.next_wait();
    tracing::warn!(%error, ?wait, "events can't be taken now, trying again");
    if context.bus.is_connected()
        && let Some(Err(error)) = leave.run_until_cancelled(context.bus.ensure()).await
    {
        tracing::warn!(%error, "the streams can't be made now");
    }
    tokio::select! {
        () = leave.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
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

fn status_of(context: &Context) -> impl Fn() -> EmbedderStatus + use<> {
    let description = context.engine.description();
    let status = EmbedderStatus {
        instance: context.instance.clone(),
        model: description.name.clone(),
        dimension: description.dimension,
        checksum: context.index.model().checksum.clone(),
        device: context.engine.device_line(),
        embedded: 0,
        reused: 0,
    };
    move || EmbedderStatus {
        embedded: metrics::EMBEDDINGS.get(),
        reused: metrics::REUSED.get(),
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
