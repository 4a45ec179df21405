//! The worker's life over changes of the model: whenever another model's collection is put in
//! service, the worker loads that model, answers its queries, ends what it does for the old one in
//! order, and goes on for the new one. Queries of the old model are answered for a while longer,
//! until every service has gone over.
//!
//! A model that can't be loaded here changes nothing: the worker goes on as before, says so, and
//! tries again.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lookalike_chassis::Backoff;
use lookalike_index::{Collection, Error as IndexError, Index, ModelIdentity};
use lookalike_vision::Engine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Context, Error, golden, queries, work};

/// How often it is asked which collection is in service.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long queries of a model are answered after its collection went out of service.
const GRACE: Duration = Duration::from_secs(60);

/// Loads a collection's model and starts it on its device, or says why it can't.
pub type Load =
    Arc<dyn Fn(Collection) -> BoxFuture<'static, Result<Arc<Engine>, String>> + Send + Sync>;

/// What the worker does and says beside its work: queries of which models it answers, and why it
/// does not go over to the model in service.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
    /// Whether nothing is taken in, compared or told of rows; see [`Beside::stand_aside`].
    aside: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    left_behind: Option<String>,
    answered: Vec<Answered>,
}

/// A model whose queries are answered.
struct Answered {
    engine: Arc<Engine>,
    ended: CancellationToken,
    /// Out of service since then.
    since: Option<Instant>,
}

impl Answered {
    fn is_of(&self, checksum: &str, fingerprint: &str) -> bool {
        let own = self.engine.description();
        own.checksum == checksum && own.fingerprint() == fingerprint
    }
}

impl Beside {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Checksums of all models whose queries are answered but this one.
    pub(crate) fn also_answers(&self, own: &str) -> Vec<String> {
        let state = self.state();
        let all = state.answered.iter();
        let checksums = all.map(|model| &model.engine.description().checksum);
        checksums
            .filter(|checksum| *checksum != own)
            .cloned()
            .collect()
    }

    /// Why the worker does not go over to the model in service.
    pub(crate) fn left_behind(&self) -> Option<String> {
        self.state().left_behind.clone()
    }

    fn say_left_behind(&self, why: Option<String>) {
        self.state().left_behind = why;
    }

    /// Whether this worker stands aside, now and later.
    pub(crate) fn stands_aside(&self) -> watch::Receiver<bool> {
        self.aside.subscribe()
    }

    /// While the model in service can't be used here and other workers use it: what this one would
    /// write, it would write into a collection that nobody searches any more.
    fn stand_aside(&self, aside: bool) {
        if self.aside.send_replace(aside) != aside {
            match aside {
                true => tracing::warn!(
                    "other embedders work with the model in service: leaving the work to them"
                ),
                false => tracing::info!("taking work in again"),
            }
        }
    }

    fn engine(&self, wanted: &ModelIdentity) -> Option<Arc<Engine>> {
        let state = self.state();
        let mut models = state.answered.iter();
        let model = models.find(|m| m.is_of(&wanted.checksum, &wanted.preprocessing))?;
        Some(model.engine.clone())
    }

    /// Queries of this model are answered, beside those of others.
    fn answer(&self, engine: &Arc<Engine>, context: &Context) {
        let mut state = self.state();
        let own = engine.description();
        let (checksum, fingerprint) = (&own.checksum, own.fingerprint());
        let mut models = state.answered.iter_mut();
        if let Some(model) = models.find(|m| m.is_of(checksum, &fingerprint)) {
            model.since = None;
            return;
        }
        let ended = CancellationToken::new();
        self.tasks.spawn(queries::answer(
            context.bus.clone(),
            engine.clone(),
            context.settings.max_queries,
            ended.clone(),
        ));
        state.answered.push(Answered {
            engine: engine.clone(),
            ended,
            since: None,
        });
    }

    /// Queries of other models than this one are answered for a while longer.
    fn retire_others(&self, own: &Engine) {
        let own = own.description();
        let now = Instant::now();
        for model in &mut self.state().answered {
            if model.is_of(&own.checksum, &own.fingerprint()) || model.since.is_some() {
                continue;
            }
            model.since = Some(now);
            let (beside, ended) = (self.clone(), model.ended.clone());
            self.tasks.spawn(async move {
                let grace = ended.run_until_cancelled(tokio::time::sleep(GRACE));
                if grace.await.is_some() {
                    beside.end_retired(now);
                }
            });
        }
    }

    fn end_retired(&self, since: Instant) {
        self.state().answered.retain(|model| {
            // One that is in service again has no such time any more.
            let goes = model.since == Some(since);
            if goes {
                model.ended.cancel();
            }
            !goes
        });
    }

    async fn end(&self) {
        for model in self.state().answered.drain(..) {
            model.ended.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Works until `leave`, with whichever model is in service; then finishes what is in hand, for
/// `settings.drain` at most. What can't be finished then is put off, so that its watcher sends it
/// again, and nothing is delivered again.
///
/// # Errors
/// When Milvus refuses this worker for good (wrong credentials), its device fails, or too many
/// decoders hang.
pub async fn run(context: Context, load: Load, leave: CancellationToken) -> Result<(), Error> {
    let mut context = context;
    let beside = Beside::default();
    let ended = loop {
        beside.answer(&context.engine, &context);
        beside.retire_others(&context.engine);
        let leave_this = leave.child_token();
        let working = work(context.clone(), beside.clone(), leave_this.clone());
        tokio::pin!(working);
        let next = {
            let following = next(&context, &load, &beside);
            tokio::pin!(following);
            tokio::select! {
                ended = &mut working => match ended {
                    // It went out of service under our hands.
                    Err(Error::Index(IndexError::OtherModel { .. })) if !leave.is_cancelled() => {
                        tracing::warn!("the index is another model's now");
                        match leave.run_until_cancelled(following).await {
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
                    beside.answer(&next.0, &context);
                    leave_this.cancel();
                    match working.await {
                        Ok(()) | Err(Error::Index(IndexError::OtherModel { .. })) => next,
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        if leave.is_cancelled() {
            break Ok(());
        }
        (context.engine, context.index) = next;
    };
    beside.end().await;
    ended
}

/// Waits until another model's collection is in service and can be worked for.
async fn next(context: &Context, load: &Load, beside: &Beside) -> (Arc<Engine>, Index) {
    let collections = context.index.collections();
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    let mut status = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // What can't be asked now is no news: the commit has its own words for it.
        let Ok(name) = collections.name_in_service().await else {
            continue;
        };
        if name.is_none() || name.as_deref() == Some(&*context.index.collection()) {
            beside.say_left_behind(None);
            beside.stand_aside(false);
            continue;
        }
        let Ok(Some(found)) = collections.in_service().await else {
            continue;
        };
        if found.model == *context.index.model() {
            // Made anew for the same model.
            if let Err(error) = context.index.ensure().await {
                tracing::debug!(%error, "the collection in service can't be opened now");
            }
            continue;
        }
        match go_over(context, load, beside, &found).await {
            Ok(next) => {
                beside.say_left_behind(None);
                beside.stand_aside(false);
                return next;
            }
            Err(why) => {
                let why = format!(
                    "the model {} is in service now and can't be used here: {why}",
                    found.model.name
                );
                tracing::error!("{why}; going on with the old one, and trying again");
                beside.say_left_behind(Some(why));
                let status = status.get_or_insert_with(|| context.bus.follow_status(ended.clone()));
                let until = Instant::now() + backoff.next_wait();
                while Instant::now() < until {
                    let told = status.embedders();
                    if told.iter().any(|one| one.collection == found.name) {
                        // Also when they are gone again: whoever comes works for that collection.
                        beside.stand_aside(true);
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

/// The engine and the index of a collection that was put in service.
async fn go_over(
    context: &Context,
    load: &Load,
    beside: &Beside,
    found: &Collection,
) -> Result<(Arc<Engine>, Index), String> {
    let engine = match beside.engine(&found.model) {
        Some(engine) => engine,
        None => load(found.clone()).await?,
    };
    if engine.description().checksum != found.model.checksum {
        return Err("the model that was loaded has other weights".to_owned());
    }
    let index = context.index.of_model(&found.model, &found.origin).await;
    let index = index.map_err(|error| error.to_string())?;
    golden::keep(&index, &engine)
        .await
        .map_err(|error| error.to_string())?;
    Ok((engine, index))
}
