//! The worker of one model: takes events, prepares and commits them, and drains at its end.
//!
//! [`Worker::run`] ends when the worker shuts down and every event in flight is committed, or when
//! `embed.drain_timeout` has passed since the shutdown began. [`Worker::drain`] defers what is left,
//! so the watcher sends it again and JetStream delivers nothing twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lookalike_audit::Auditor;
use lookalike_bus::{Bus, EmbedderStatus};
use lookalike_index::{Error as IndexError, Index};
use lookalike_proto::LibraryName;
use lookalike_vision::{Engine, Limits};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commit::committer::Committer;
use crate::commit::job::PreparedEvent;
use crate::embed::content_cache::ContentCache;
use crate::embed::index_lookup::IndexLookup;
use crate::embed::leaked_threads::LeakedThreads;
use crate::embed::prepare::Preparer;
use crate::error::Error;
use crate::queries::answer_requests;
use crate::queries::rows::RowsHandler;
use crate::queue::circuit_breaker::CircuitBreaker;
use crate::queue::consumer::EventConsumer;
use crate::queue::defer_on_shutdown::defer_unfinished;
use crate::queue::in_flight::InFlight;
use crate::read::library_reader::LibraryReader;
use crate::read::memory_permits::MemoryPermits;
use crate::read::unknown_libraries::UnknownLibraries;
use crate::rollover::responders::QueryResponders;
use crate::settings::Settings;
use crate::shutdown_reason::ShutdownReason;
use crate::{golden, metrics, status};

/// Time that each last step gets: the commit to notice its abort, deferring, and flushing.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Dependencies and limits of an embedder.
#[derive(Clone)]
pub struct Context {
    pub settings: Settings,
    /// The libraries whose files this worker can read, with their root folders.
    pub libraries: BTreeMap<LibraryName, PathBuf>,
    pub bus: Bus,
    /// JetStream redelivers an event whose ack deadline was not extended for this long.
    pub ack_wait: Duration,
    pub index: Index,
    pub engine: Arc<Engine>,
    pub limits: Limits,
    /// Threads that may decode at once.
    pub decode_threads: usize,
    /// Whether a supervisor restarts this worker. Then the worker exits when too many decoders
    /// hang; otherwise it stays and takes no more events.
    pub has_supervisor: bool,
    pub audit: lookalike_audit::Settings,
    /// Distinguishes this worker from others. Part of a key, so only `a-z`, `0-9`, `-` and `_`.
    pub instance: String,
}

type CommitResult = Result<Result<(), IndexError>, JoinError>;

/// A worker for one model.
pub struct Worker {
    context: Context,
    shutdown_reason: ShutdownReason,
    in_flight: Arc<InFlight>,
    consumer: EventConsumer,
    /// Where prepared events go; dropped when no more are prepared, which ends the commit.
    prepared: Option<mpsc::Sender<PreparedEvent>>,
    commit: JoinHandle<Result<(), IndexError>>,
    /// Set when the commit has ended.
    committed: Option<CommitResult>,
    /// Makes the commit stop without finishing.
    abort: CancellationToken,
    background: TaskTracker,
    stop_background: CancellationToken,
}

impl Worker {
    /// Starts the commit and the background tasks; [`Worker::run`] takes the events.
    pub fn new(
        context: Context,
        responders: &QueryResponders,
        shutdown: &CancellationToken,
    ) -> Self {
        metrics::register_metrics();
        tracing::info!("embedding with {}", context.engine.describe_device());
        let settings = &context.settings;
        let shutdown_reason = ShutdownReason::for_worker(shutdown);
        let in_flight = Arc::new(InFlight::default());
        let breaker = Arc::new(CircuitBreaker::new(settings.pause_after_failures));
        let leaked_threads = LeakedThreads::new(settings.max_leaked_threads);
        let content_cache = Arc::new(ContentCache::new(settings.max_cached_contents));
        let abort = CancellationToken::new();
        let committer = Committer {
            index: context.index.clone(),
            bus: context.bus.clone(),
            model: context.engine.description().name.clone(),
            max_rows: settings.max_commit_rows,
            breaker: breaker.clone(),
            content_cache: content_cache.clone(),
            abort: abort.clone(),
        };
        let preparer = Preparer {
            readers: library_readers(&context),
            unknown_libraries: UnknownLibraries::default(),
            engine: context.engine.clone(),
            limits: context.limits.clone(),
            lookup: IndexLookup::start(
                context.index.clone(),
                breaker.clone(),
                settings.max_in_flight,
            ),
            content_cache,
            decode_permits: Semaphore::new(context.decode_threads.max(1)),
            memory_permits: MemoryPermits::new(settings.max_bytes_in_memory),
            exclusive_decode: tokio::sync::RwLock::new(()),
            bus: context.bus.clone(),
            leaked_threads: leaked_threads.clone(),
            shutdown_reason: shutdown_reason.clone(),
            folder_tags: settings.folder_tags,
            read_sidecars: settings.read_sidecars,
        };
        let (prepared, to_commit) = mpsc::channel(settings.max_in_flight.max(1));
        let consumer = EventConsumer {
            bus: context.bus.clone(),
            index: context.index.clone(),
            poll_timeout: settings.poll_timeout,
            shutdown: shutdown_reason.shutdown.clone(),
            in_flight: in_flight.clone(),
            permits: Arc::new(Semaphore::new(settings.max_in_flight.max(1))),
            preparer: Arc::new(preparer),
            breaker,
            leaked_threads,
            paused: responders.subscribe_paused(),
            tasks: TaskTracker::new(),
        };
        let worker = Self {
            shutdown_reason,
            in_flight,
            consumer,
            prepared: Some(prepared),
            commit: tokio::spawn(committer.run(to_commit)),
            committed: None,
            abort,
            background: TaskTracker::new(),
            stop_background: CancellationToken::new(),
            context,
        };
        worker.start_background_tasks(responders);
        worker
    }

    fn start_background_tasks(&self, responders: &QueryResponders) {
        let Context { bus, index, .. } = &self.context;
        let (paused, stop) = (responders.subscribe_paused(), &self.stop_background);
        let rows_handler = RowsHandler::new(bus.clone(), index.clone(), paused.clone());
        self.background
            .spawn(answer_requests(rows_handler, stop.clone()));
        self.background.spawn(extend_ack_deadlines(
            self.in_flight.clone(),
            self.context.ack_wait / 3,
            stop.clone(),
        ));
        self.background.spawn(status::publish_status(
            bus.clone(),
            self.status_source(responders.clone()),
            stop.clone(),
        ));
        let auditor = Auditor::new(
            bus.clone(),
            index.clone(),
            bus.watch_status(stop.clone()),
            self.context.audit.clone(),
        );
        self.background.spawn(lookalike_audit::run_periodic_audit(
            auditor,
            bus.clone(),
            self.context.instance.clone(),
            paused,
            stop.clone(),
        ));
        if self.context.has_supervisor {
            self.background.spawn(exit_on_leaked_threads(
                self.consumer.leaked_threads.clone(),
                self.shutdown_reason.clone(),
                stop.clone(),
            ));
        }
        self.background.close();
    }

    fn status_source(
        &self,
        responders: QueryResponders,
    ) -> impl Fn() -> EmbedderStatus + Send + 'static + use<> {
        let description = self.context.engine.description();
        let index = self.context.index.clone();
        let engine = self.context.engine.clone();
        let status = EmbedderStatus {
            instance: self.context.instance.clone(),
            model: description.name.clone(),
            dimension: description.dimension,
            checksum: index.model().checksum.clone(),
            device: String::new(),
            devices: Vec::new(),
            embedded: 0,
            reused: 0,
            intake_paused: false,
            collection: String::new(),
            other_served_models: Vec::new(),
            rollover_error: None,
        };
        move || EmbedderStatus {
            // Changes when a device fails or works again.
            device: engine.describe_device(),
            devices: status::list_devices(&engine),
            embedded: metrics::EMBEDDINGS.get(),
            reused: metrics::REUSED.get(),
            intake_paused: metrics::INTAKE_PAUSED.get() != 0,
            collection: index.collection().to_string(),
            other_served_models: responders.other_served_models(&status.checksum),
            rollover_error: responders.rollover_error(),
            ..status.clone()
        }
    }

    /// Takes, prepares and commits events until the shutdown. Events that are in flight then are
    /// finished, for `embed.drain_timeout` at most.
    pub async fn run(&mut self) {
        let shutdown = self.shutdown_reason.shutdown.clone();
        let drain_timeout = self.context.settings.drain_timeout;
        // The timeout starts with the shutdown, even while `process_events` waits.
        let timeout = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain_timeout).await;
        };
        tokio::select! {
            committed = self.process_events() => self.committed = Some(committed),
            () = timeout => {}
        }
    }

    async fn process_events(&mut self) -> CommitResult {
        let Context { index, engine, .. } = &self.context;
        let shutdown = &self.shutdown_reason.shutdown;
        // A device that computes wrong vectors must take no events.
        if let Err(error) = golden::verify_golden_vector(index, engine, shutdown).await {
            self.shutdown_reason.shut_down_with(error.into());
        }
        if let Some(prepared) = self.prepared.take() {
            tokio::select! {
                () = self.consumer.run(prepared) => {}
                committed = &mut self.commit => return committed,
            }
        }
        // No more events are taken. Those in flight proceed to their commit, and the channel closes
        // when the last one is prepared.
        self.consumer.tasks.close();
        (&mut self.commit).await
    }

    /// Defers the events that [`Worker::run`] could not finish, and stops the background tasks.
    ///
    /// # Errors
    /// Why the worker shut down, if the reason was not a shutdown from outside.
    pub async fn drain(mut self) -> Result<(), Error> {
        let mut unfinished = self.in_flight.list_events();
        let committed = match self.committed.take() {
            Some(committed) => committed,
            None => {
                tracing::warn!("shutting down without finishing the events in flight");
                self.abort_commit().await
            }
        };
        unfinished.retain(|in_flight| !in_flight.has_outcome());
        if !unfinished.is_empty() {
            defer_unfinished(&self.context.bus, unfinished, GIVE_UP_TIMEOUT).await;
        }
        self.stop_background.cancel();
        self.background.wait().await;
        // Messages may still be buffered.
        let _ = tokio::time::timeout(GIVE_UP_TIMEOUT, self.context.bus.flush_messages()).await;
        match committed {
            Ok(Ok(())) => self.shutdown_reason.take_error().map_or(Ok(()), Err),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn abort_commit(&mut self) -> CommitResult {
        self.abort.cancel();
        match tokio::time::timeout(GIVE_UP_TIMEOUT, &mut self.commit).await {
            Ok(committed) => committed,
            // What is interrupted here was not acknowledged, and repeating it is harmless.
            Err(_) => {
                self.commit.abort();
                Ok(Ok(()))
            }
        }
    }
}

fn library_readers(context: &Context) -> BTreeMap<LibraryName, Arc<LibraryReader>> {
    let libraries = context.libraries.iter();
    libraries
        .map(|(library, root)| {
            let reader = LibraryReader::new(library.as_str(), root.clone(), &context.settings);
            (library.clone(), reader)
        })
        .collect()
}

/// Shuts the worker down when too many decoders hang.
async fn exit_on_leaked_threads(
    leaked_threads: Arc<LeakedThreads>,
    shutdown_reason: ShutdownReason,
    stop: CancellationToken,
) {
    let over_limit = stop.run_until_cancelled(leaked_threads.wait_until_over_limit(true));
    if over_limit.await.is_some() {
        let count = leaked_threads.count_over_limit().unwrap_or_default();
        shutdown_reason.shut_down_with(Error::LeakedThreads { count });
    }
}

async fn extend_ack_deadlines(
    in_flight: Arc<InFlight>,
    interval: Duration,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {
                // An unreachable NATS may block this call, and must not block the shutdown.
                stop.run_until_cancelled(in_flight.extend_ack_deadlines(interval / 2)).await;
            }
        }
    }
}
