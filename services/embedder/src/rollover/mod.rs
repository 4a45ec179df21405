//! The worker's life over changes of the model: whenever another model's collection is put in
//! service, the worker loads that model, answers its queries, ends what it does for the old one in
//! order, and goes on for the new one. Queries of the old model are answered for a while longer,
//! until every service has gone over.
//!
//! A model that can't be loaded here changes nothing: the worker goes on as before, says so, and
//! tries again.

mod content;
pub mod copy;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lookalike_chassis::Backoff;
use lookalike_index::{Collection, Error as IndexError, Index, ModelIdentity};
use lookalike_vision::Engine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Context, Error, golden, queries, run_worker};

/// How often it is asked which collection is in service.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long queries of a model are answered after its collection went out of service.
const RETIREMENT_GRACE_PERIOD: Duration = Duration::from_secs(60);

/// Loads a collection's model and starts it on its device, or says why it can't.
pub type EngineLoader =
    Arc<dyn Fn(Collection) -> BoxFuture<'static, Result<Arc<Engine>, String>> + Send + Sync>;

/// What the worker does and says beside its work: queries of which models it answers, and why it
/// does not go over to the model in service.
#[derive(Clone, Default)]
pub(crate) struct QueryResponders {
    state: Arc<Mutex<ResponderState>>,
    tasks: TaskTracker,
    /// Whether nothing is taken in, compared or told of rows; see [`Beside::set_intake_paused`].
    paused: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct ResponderState {
    rollover_error: Option<String>,
    responders: Vec<QueryResponder>,
}

/// A model whose queries are answered.
struct QueryResponder {
    engine: Arc<Engine>,
    stop: CancellationToken,
    /// Out of service since then.
    retired_at: Option<Instant>,
}

impl QueryResponder {
    fn serves_model(&self, checksum: &str, fingerprint: &str) -> bool {
        let own = self.engine.description();
        own.checksum == checksum && own.fingerprint() == fingerprint
    }
}

impl QueryResponders {
    fn lock_state(&self) -> MutexGuard<'_, ResponderState> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Checksums of all models whose queries are answered but this one.
    pub(crate) fn other_served_models(&self, own: &str) -> Vec<String> {
        let state = self.lock_state();
        let all = state.responders.iter();
        let checksums = all.map(|model| &model.engine.description().checksum);
        checksums
            .filter(|checksum| *checksum != own)
            .cloned()
            .collect()
    }

    /// Why the worker does not go over to the model in service.
    pub(crate) fn rollover_error(&self) -> Option<String> {
        self.lock_state().rollover_error.clone()
    }

    fn set_rollover_error(&self, error: Option<String>) {
        self.lock_state().rollover_error = error;
    }

    /// Whether this worker stands aside, now and later.
    pub(crate) fn subscribe_paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// While the model in service can't be used here and other workers use it: what this one would
    /// write, it would write into a collection that nobody searches any more.
    fn set_intake_paused(&self, paused: bool) {
        if self.paused.send_replace(paused) != paused {
            match paused {
                true => tracing::warn!(
                    "other embedders work with the model in service: leaving the work to them"
                ),
                false => tracing::info!("taking work in again"),
            }
        }
    }

    fn find_engine(&self, wanted: &ModelIdentity) -> Option<Arc<Engine>> {
        let state = self.lock_state();
        let mut models = state.responders.iter();
        let model = models.find(|m| m.serves_model(&wanted.checksum, &wanted.preprocessing))?;
        Some(model.engine.clone())
    }

    /// Queries of this model are answered, beside those of others.
    fn start_responder(&self, engine: &Arc<Engine>, context: &Context) {
        let mut state = self.lock_state();
        let own = engine.description();
        let (checksum, fingerprint) = (&own.checksum, own.fingerprint());
        let mut models = state.responders.iter_mut();
        if let Some(model) = models.find(|m| m.serves_model(checksum, &fingerprint)) {
            model.retired_at = None;
            return;
        }
        let ended = CancellationToken::new();
        self.tasks.spawn(queries::embed::answer_queries(
            context.bus.clone(),
            engine.clone(),
            context.settings.max_queries,
            ended.clone(),
        ));
        state.responders.push(QueryResponder {
            engine: engine.clone(),
            stop: ended,
            retired_at: None,
        });
    }

    /// Queries of other models than this one are answered for a while longer.
    fn retire_others(&self, own: &Engine) {
        let own = own.description();
        let now = Instant::now();
        for model in &mut self.lock_state().responders {
            if model.serves_model(&own.checksum, &own.fingerprint()) || model.retired_at.is_some() {
                continue;
            }
            model.retired_at = Some(now);
            let (beside, ended) = (self.clone(), model.stop.clone());
            self.tasks.spawn(async move {
                let grace = ended.run_until_cancelled(tokio::time::sleep(RETIREMENT_GRACE_PERIOD));
                if grace.await.is_some() {
                    beside.end_retired(now);
                }
            });
        }
    }

    fn end_retired(&self, retired_at: Instant) {
        self.lock_state().responders.retain(|model| {
            // One that is in service again has no such time any more.
            let goes = model.retired_at == Some(retired_at);
            if goes {
                model.stop.cancel();
            }
            !goes
        });
    }

    async fn stop_responders(&self) {
        for model in self.lock_state().responders.drain(..) {
            model.stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Works until `shutdown`, with whichever model is in service; then finishes what is in hand, for
/// `settings.drain_timeout` at most. What can't be finished then is put off, so that its watcher sends it
/// again, and nothing is delivered again.
///
/// # Errors
/// When Milvus refuses this worker for good (wrong credentials), its device fails, or too many
/// decoders hang.
pub async fn run_embedder(
    context: Context,
    load: EngineLoader,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut context = context;
    let responders = QueryResponders::default();
    let ended = loop {
        responders.start_responder(&context.engine, &context);
        responders.retire_others(&context.engine);
        let leave_this = shutdown.child_token();
        let working = run_worker(context.clone(), responders.clone(), leave_this.clone());
        tokio::pin!(working);
        let next = {
            let following = wait_for_rollover(&context, &load, &responders);
            tokio::pin!(following);
            tokio::select! {
                ended = &mut working => match ended {
                    // It went out of service under our hands.
                    Err(Error::Index(IndexError::ModelMismatch { .. })) if !shutdown.is_cancelled() => {
                        tracing::warn!("the index is another model's now");
                        match shutdown.run_until_cancelled(following).await {
                            Some(next) => next,
                            None => break Ok(()),
                        }
                    }
                    ended => break ended,
                },
                next = &mut following => {
                    tracing::info!(
                        model = next.0.description().name,
                        collection = %next.1.collection(),
                        "another model's collection is in service: finishing what is under way"
                    );
                    // Its queries are answered from now on, so that the services can go over.
                    responders.start_responder(&next.0, &context);
                    leave_this.cancel();
                    match working.await {
                        Ok(()) | Err(Error::Index(IndexError::ModelMismatch { .. })) => next,
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        if shutdown.is_cancelled() {
            break Ok(());
        }
        (context.engine, context.index) = next;
    };
    responders.stop_responders().await;
    ended
}

/// Waits until another model's collection is in service and can be worked for.
async fn wait_for_rollover(
    context: &Context,
    load: &EngineLoader,
    responders: &QueryResponders,
) -> (Arc<Engine>, Index) {
    let collections = context.index.collections();
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let mut status = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        // What can't be asked now is no news: the commit has its own words for it.
        let Ok(name) = collections.name_in_service().await else {
            continue;
        };
        if name.is_none() || name.as_deref() == Some(&*context.index.collection()) {
            responders.set_rollover_error(None);
            responders.set_intake_paused(false);
            continue;
        }
        let Ok(Some(found)) = collections.in_service().await else {
            continue;
        };
        if found.model == *context.index.model() {
            // Made anew for the same model.
            if let Err(error) = context.index.ensure_collection().await {
                tracing::debug!(%error, "the collection in service can't be opened now");
            }
            continue;
        }
        match load_served_model(context, load, responders, &found).await {
            Ok(next) => {
                responders.set_rollover_error(None);
                responders.set_intake_paused(false);
                return next;
            }
            Err(why) => {
                let why = format!(
                    "the model {} is in service now and can't be used here: {why}",
                    found.model.name
                );
                tracing::error!("{why}; going on with the old one, and trying again");
                responders.set_rollover_error(Some(why));
                let status = status.get_or_insert_with(|| context.bus.watch_status(ended.clone()));
                let until = Instant::now() + backoff.next_delay();
                while Instant::now() < until {
                    let told = status.embedders();
                    if told.iter().any(|one| one.collection == found.name) {
                        // Also when they are gone again: whoever comes works for that collection.
                        responders.set_intake_paused(true);
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }
}

/// The engine and the index of a collection that was put in service.
async fn load_served_model(
    context: &Context,
    load: &EngineLoader,
    responders: &QueryResponders,
    collection: &Collection,
) -> Result<(Arc<Engine>, Index), String> {
    let engine = match responders.find_engine(&collection.model) {
        Some(engine) => engine,
        None => load(collection.clone()).await?,
    };
    if engine.description().checksum != collection.model.checksum {
        return Err("the model that was loaded has other weights".to_owned());
    }
    let index = context
        .index
        .open_for_model(&collection.model, &collection.model_source)
        .await;
    let index = index.map_err(|error| error.to_string())?;
    golden::compare_golden_vector(&index, &engine)
        .await
        .map_err(|error| error.to_string())?;
    Ok((engine, index))
}
