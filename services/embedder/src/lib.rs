//! Events → rows: takes events from the queue, reads and hashes each file once, embeds what is
//! not known, writes rows to Milvus, and tells what became of each. It also answers queries for
//! a vector, ahead of everything it indexes.
//!
//! Every event in hand is a task of its own, so that a large or slow file holds up nobody; the
//! device, the look-up of known content and the commit each gather what is ready at the moment.

mod commit;
mod embed;
mod error;
mod golden;
mod metrics;
mod queries;
mod queue;
mod read;
mod retry;
pub mod rollover;
mod settings;
mod shutdown_reason;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lookalike_bus::{Bus, EmbedderStatus};
use lookalike_index::Index;
use lookalike_proto::{LibraryName, OutcomeState};
use lookalike_vision::{Engine, Limits};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::Error;
pub use rollover::{EngineLoader, run_embedder};
pub use settings::Settings;

use commit::committer::Committer;
use embed::content_cache::{ContentCache, IndexLookup};
use embed::leaked_threads::LeakedThreads;
use embed::prepare::Preparer;
use queue::circuit_breaker::CircuitBreaker;
use queue::consumer::EventConsumer;
use queue::in_flight::{InFlight, InFlightEvent};
use read::library_reader::LibraryReader;
use read::unknown_libraries::UnknownLibraries;
use rollover::QueryResponders;
use shutdown_reason::ShutdownReason;

/// How long the commit has to notice that it is to give up, and how long what is still in hand has
/// to be put off.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// What an embedder is made of.
#[derive(Clone)]
pub struct Context {
    /// Limits.
    pub settings: Settings,
    /// The libraries whose files this worker can read, with their root folders.
    pub libraries: BTreeMap<LibraryName, PathBuf>,
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
    pub has_supervisor: bool,
    /// When to audit the index, and how.
    pub audit: lookalike_audit::Settings,
    /// Distinguishes this worker from others; part of a key, so of `a-z`, `0-9`, `-` and `_`.
    pub instance: String,
}

/// Works for one model until `shutdown`; see [`run`].
async fn run_worker(
    context: Context,
    responders: QueryResponders,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    metrics::register_metrics();
    tracing::info!("embedding with {}", context.engine.device_line());
    let Context {
        settings,
        bus,
        index,
        engine,
        ..
    } = &context;
    let give_up = CancellationToken::new();
    let ending = ShutdownReason::for_worker(&shutdown);
    let hand = Arc::new(InFlight::default());
    let breaker = Arc::new(CircuitBreaker::new(settings.pause_after_failures));
    let strays = LeakedThreads::new(settings.max_leaked_threads);
    let remembered = Arc::new(ContentCache::new(settings.cached_contents));
    let memory_mebibytes = u32::try_from((settings.max_bytes_in_memory >> 20).max(1))
        .unwrap_or(u32::MAX)
        .min(u32::try_from(Semaphore::MAX_PERMITS >> 3).unwrap_or(u32::MAX));
    let folders = context.libraries.iter().map(|(library, root)| {
        let folder = LibraryReader::new(library.as_str(), root.clone(), settings);
        (library.clone(), folder)
    });
    let preparer = Arc::new(Preparer {
        readers: folders.collect(),
        unknown_libraries: UnknownLibraries::default(),
        engine: engine.clone(),
        limits: context.limits.clone(),
        lookup: IndexLookup::start(index.clone(), breaker.clone(), settings.max_in_flight),
        content_cache: remembered.clone(),
        decode_permits: Arc::new(Semaphore::new(context.decode_threads.max(1))),
        memory_permits: Arc::new(Semaphore::new(memory_mebibytes as usize)),
        memory_mebibytes,
        exclusive_decode: RwLock::new(()),
        bus: bus.clone(),
        leaked_threads: strays.clone(),
        shutdown_reason: ending.clone(),
    });
    let (ready, to_commit) = mpsc::channel(settings.max_in_flight.max(1));
    let committer = Committer {
        index: index.clone(),
        bus: bus.clone(),
        model: engine.description().name.clone(),
        max_rows: settings.commit_rows,
        breaker: breaker.clone(),
        content_cache: remembered,
        abort: give_up.clone(),
    };
    let beside = TaskTracker::new();
    let ended = CancellationToken::new();
    let aside = responders.subscribe_paused();
    beside.spawn(queries::rows::answer_row_requests(
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
    beside.spawn(publish_status(
        bus.clone(),
        status_source(&context, responders),
        ended.clone(),
    ));
    let auditor = lookalike_audit::Auditor::new(
        bus.clone(),
        index.clone(),
        bus.watch_status(ended.clone()),
        context.audit.clone(),
    );
    beside.spawn(lookalike_audit::run_periodic_audit(
        auditor,
        bus.clone(),
        context.instance.clone(),
        aside.clone(),
        ended.clone(),
    ));
    if context.has_supervisor {
        beside.spawn(exit_on_leaked_threads(
            strays.clone(),
            ending.clone(),
            ended.clone(),
        ));
    }
    beside.close();

    let workers = TaskTracker::new();
    let intake = EventConsumer {
        bus: bus.clone(),
        index: index.clone(),
        poll_timeout: settings.poll_timeout,
        shutdown: ending.shutdown.clone(),
        in_flight: hand.clone(),
        permits: Arc::new(Semaphore::new(settings.max_in_flight.max(1))),
        preparer,
        breaker,
        leaked_threads: strays,
        paused: aside,
        tasks: workers.clone(),
    };
    let mut commit = tokio::spawn(committer.run(to_commit));
    let finish = async {
        // Nothing is taken in by a device that moves vectors.
        if let Err(error) = golden::verify_golden_vector(index, engine, &ending.shutdown).await {
            ending.shut_down_with(error.into());
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
        ending.shutdown.cancelled().await;
        tokio::time::sleep(settings.drain_timeout).await;
    };
    let finished = tokio::select! {
        finished = finish => Some(finished),
        () = too_late => None,
    };
    let mut unfinished = hand.list_events();
    let finished = match finished {
        Some(finished) => finished,
        None => {
            tracing::warn!("leaving without finishing what is in hand");
            give_up.cancel();
            // Whatever is cut off here was not acknowledged, and doing it again is harmless.
            match tokio::time::timeout(GIVE_UP_TIMEOUT, &mut commit).await {
                Ok(finished) => finished,
                Err(_) => {
                    commit.abort();
                    Ok(Ok(()))
                }
            }
        }
    };
    unfinished.retain(|held| !held.has_outcome());
    if !unfinished.is_empty() {
        defer_unfinished(bus, unfinished).await;
    }
    ended.cancel();
    beside.wait().await;
    // Sends what is still buffered.
    let _ = tokio::time::timeout(GIVE_UP_TIMEOUT, bus.flush_messages()).await;
    match finished {
        Ok(Ok(())) => ending.take_error().map_or(Ok(()), Err),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Says that these events were not done, so that they are sent again, and takes them out of the
/// queue. Where NATS does not take that either, they are delivered again.
async fn defer_unfinished(bus: &Bus, unfinished: Vec<Arc<InFlightEvent>>) {
    let reason = "the worker that had it left";
    let outcomes: Vec<_> = unfinished
        .iter()
        .map(|held| {
            held.build_outcome(OutcomeState::Deferred {
                detail: reason.to_owned(),
            })
        })
        .collect();
    let put_off = async {
        let results = bus.publish_outcomes(&outcomes).await;
        let told = unfinished.iter().zip(results);
        let acknowledged = told.filter_map(|(held, result)| {
            result.ok()?;
            metrics::DEFERRED.inc();
            Some(held.delivery.acknowledge_event())
        });
        join_all(acknowledged).await.into_iter().flatten().count()
    };
    let (count, most) = (unfinished.len(), GIVE_UP_TIMEOUT);
    match tokio::time::timeout(most, put_off).await {
        Ok(done) => tracing::info!(done, count, "put off what was not finished"),
        Err(_) => tracing::warn!(count, "what was not finished is delivered again, later"),
    }
}

/// Ends the worker when too many decoders hang.
async fn exit_on_leaked_threads(
    leaked_threads: Arc<LeakedThreads>,
    ending: ShutdownReason,
    ended: CancellationToken,
) {
    if ended
        .run_until_cancelled(leaked_threads.wait_until_over_limit(true))
        .await
        .is_some()
    {
        let count = leaked_threads.count_over_limit().unwrap_or_default();
        ending.shut_down_with(Error::LeakedThreads { count });
    }
}

async fn report_progress(in_flight: Arc<InFlight>, interval: Duration, ended: CancellationToken) {
    while !ended.is_cancelled() {
        tokio::select! {
            () = ended.cancelled() => {}
            () = tokio::time::sleep(interval) => {
                // While NATS is away, saying so may wait: leaving must not.
                ended.run_until_cancelled(in_flight.extend_ack_deadlines(interval / 2)).await;
            }
        }
    }
}

fn status_source(
    context: &Context,
    responders: QueryResponders,
) -> impl Fn() -> EmbedderStatus + use<> {
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
        other_served_models: Vec::new(),
        rollover_error: None,
    };
    let index = context.index.clone();
    move || EmbedderStatus {
        embedded: metrics::EMBEDDINGS.get(),
        reused: metrics::REUSED.get(),
        intake_paused: metrics::INTAKE_PAUSED.get() != 0,
        collection: index.collection().to_string(),
        other_served_models: responders.other_served_models(&status.checksum),
        rollover_error: responders.rollover_error(),
        ..status.clone()
    }
}

/// Tells what this worker is like: at a change, though not more than once a second, and every
/// ten seconds.
async fn publish_status(bus: Bus, status: impl Fn() -> EmbedderStatus, ended: CancellationToken) {
    let mut published = None;
    let mut seconds = 0_u32;
    while !ended.is_cancelled() {
        let now = status();
        if published.as_ref() != Some(&now) || seconds.is_multiple_of(10) {
            match ended
                .run_until_cancelled(bus.publish_embedder_status(&now))
                .await
            {
                None => return,
                Some(Ok(())) => published = Some(now),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the status can't be told now");
                    published = None;
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
