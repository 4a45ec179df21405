//! The models whose queries this worker answers, and the state of a rollover that it reports.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lookalike_bus::Bus;
use lookalike_index::ModelIdentity;
use lookalike_vision::Engine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::queries::answer_requests;
use crate::queries::embed::EmbedHandler;

/// How long queries of a model are answered after its collection went out of service.
const RETIREMENT_GRACE_PERIOD: Duration = Duration::from_secs(60);

/// Answers the queries of the model in service and, for a while, of the one before it. Clones share
/// their state.
#[derive(Clone)]
pub struct QueryResponders {
    bus: Bus,
    instance: String,
    max_queries: usize,
    state: Arc<Mutex<ResponderState>>,
    tasks: TaskTracker,
    /// Whether this worker takes no events, audits nothing and reads no rows for watchers; see
    /// [`QueryResponders::set_intake_paused`].
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
    /// When the model went out of service.
    retired_at: Option<Instant>,
}

impl QueryResponder {
    fn serves_model(&self, checksum: &str, fingerprint: &str) -> bool {
        let own = self.engine.description();
        own.checksum == checksum && own.fingerprint() == fingerprint
    }
}

impl QueryResponders {
    pub fn new(bus: Bus, instance: String, max_queries: usize) -> Self {
        Self {
            bus,
            instance,
            max_queries,
            state: Arc::default(),
            tasks: TaskTracker::new(),
            paused: Arc::default(),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, ResponderState> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Returns the checksums of all models whose queries are answered, except `own`.
    pub fn other_served_models(&self, own: &str) -> Vec<String> {
        let state = self.lock_state();
        let responders = state.responders.iter();
        let checksums = responders.map(|responder| &responder.engine.description().checksum);
        checksums
            .filter(|checksum| *checksum != own)
            .cloned()
            .collect()
    }

    /// Returns why the worker cannot use the model in service.
    pub fn rollover_error(&self) -> Option<String> {
        self.lock_state().rollover_error.clone()
    }

    pub fn set_rollover_error(&self, error: Option<String>) {
        self.lock_state().rollover_error = error;
    }

    pub fn subscribe_paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// Pauses or resumes the intake. A worker pauses while it cannot use the model in service and
    /// other workers can: it would write into a collection that is not searched any more.
    pub fn set_intake_paused(&self, paused: bool) {
        if self.paused.send_replace(paused) != paused {
            match paused {
                true => tracing::warn!(
                    "other embedders use the model in service: leaving the work to them"
                ),
                false => tracing::info!("taking events again"),
            }
        }
    }

    /// Returns the engine of a model whose queries are answered.
    pub fn find_engine(&self, model: &ModelIdentity) -> Option<Arc<Engine>> {
        let state = self.lock_state();
        let mut responders = state.responders.iter();
        let responder = responders
            .find(|responder| responder.serves_model(&model.checksum, &model.preprocessing))?;
        Some(responder.engine.clone())
    }

    /// Answers the queries of this model, in addition to those of others.
    pub fn start_responder(&self, engine: &Arc<Engine>) {
        let mut state = self.lock_state();
        let own = engine.description();
        let (checksum, fingerprint) = (&own.checksum, own.fingerprint());
        let mut responders = state.responders.iter_mut();
        if let Some(responder) =
            responders.find(|responder| responder.serves_model(checksum, &fingerprint))
        {
            responder.retired_at = None;
            return;
        }
        let stop = CancellationToken::new();
        let handler = EmbedHandler::new(
            self.bus.clone(),
            engine.clone(),
            self.instance.clone(),
            self.max_queries,
        );
        self.tasks.spawn(answer_requests(handler, stop.clone()));
        state.responders.push(QueryResponder {
            engine: engine.clone(),
            stop,
            retired_at: None,
        });
    }

    /// Stops answering the queries of all other models after [`RETIREMENT_GRACE_PERIOD`].
    pub fn retire_others(&self, own: &Engine) {
        let own = own.description();
        let now = Instant::now();
        for responder in &mut self.lock_state().responders {
            if responder.serves_model(&own.checksum, &own.fingerprint())
                || responder.retired_at.is_some()
            {
                continue;
            }
            responder.retired_at = Some(now);
            let (responders, stop) = (self.clone(), responder.stop.clone());
            self.tasks.spawn(async move {
                let grace = stop.run_until_cancelled(tokio::time::sleep(RETIREMENT_GRACE_PERIOD));
                if grace.await.is_some() {
                    responders.end_retired(now);
                }
            });
        }
    }

    fn end_retired(&self, retired_at: Instant) {
        self.lock_state().responders.retain(|responder| {
            // `start_responder` clears `retired_at` when a model is in service again.
            let is_due = responder.retired_at == Some(retired_at);
            if is_due {
                responder.stop.cancel();
            }
            !is_due
        });
    }

    /// Stops answering all queries.
    pub async fn stop_responders(&self) {
        for responder in self.lock_state().responders.drain(..) {
            responder.stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
