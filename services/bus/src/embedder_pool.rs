//! The embedders that this process knows, for each model that it sends queries for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::embedder_choice::{EmbedderChoice, HealthChange, HedgeLimits};
use crate::metrics::EJECTED_EMBEDDERS;
use crate::settings::Settings;

/// A model without queries for so long is forgotten, with its embedders.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The embedders of all models. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct EmbedderPools {
    models: Arc<Mutex<HashMap<String, Arc<ModelEmbedders>>>>,
}

impl EmbedderPools {
    /// Returns the embedders that receive queries on `subject`, and marks them as used.
    pub fn pool(&self, subject: &str, settings: &Settings) -> Arc<ModelEmbedders> {
        let mut models = self
            .models
            .lock()
            .expect("nothing panics while it holds this lock");
        models.retain(|_, pool| !pool.is_idle());
        let pool = models
            .entry(subject.to_owned())
            .or_insert_with(|| Arc::new(ModelEmbedders::new(settings)));
        *pool.lock_used_at() = Instant::now();
        Arc::clone(pool)
    }
}

/// The embedders of one model.
pub(crate) struct ModelEmbedders {
    choice: Mutex<EmbedderChoice>,
    used_at: Mutex<Instant>,
    /// Whether a task calls the roll.
    has_roll_calls: AtomicBool,
}

impl ModelEmbedders {
    fn new(settings: &Settings) -> Self {
        let limits = HedgeLimits {
            min_delay: settings.embed_hedge_min_delay,
            max_delay: settings.embed_timeout / 4,
            budget_percent: settings.embed_hedge_percent,
            eject_after: settings.embed_eject_timeout,
        };
        Self {
            choice: Mutex::new(EmbedderChoice::new(limits)),
            used_at: Mutex::new(Instant::now()),
            has_roll_calls: AtomicBool::new(false),
        }
    }

    /// Calls `decide` with the present time, and reports the changes that it causes.
    pub fn decide<T>(&self, decide: impl FnOnce(&mut EmbedderChoice, Instant) -> T) -> T {
        let mut choice = self
            .choice
            .lock()
            .expect("nothing panics while it holds this lock");
        let result = decide(&mut choice, Instant::now());
        let changes = choice.take_changes();
        drop(choice);
        for change in changes {
            report_change(&change);
        }
        result
    }

    /// Returns whether no query was sent for a long time.
    pub fn is_idle(&self) -> bool {
        self.lock_used_at().elapsed() > IDLE_TIMEOUT
    }

    /// Returns whether the caller must start the roll calls.
    pub fn needs_roll_calls(&self) -> bool {
        !self.has_roll_calls.swap(true, Ordering::AcqRel)
    }

    /// Makes the next user of the pool start the roll calls again.
    pub fn end_roll_calls(&self) {
        self.has_roll_calls.store(false, Ordering::Release);
    }

    fn lock_used_at(&self) -> MutexGuard<'_, Instant> {
        self.used_at
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

impl Drop for ModelEmbedders {
    fn drop(&mut self) {
        if let Ok(choice) = self.choice.get_mut() {
            EJECTED_EMBEDDERS.sub(i64::try_from(choice.count_ejected()).unwrap_or(0));
        }
    }
}

fn report_change(change: &HealthChange) {
    match change {
        HealthChange::Found(instance) => {
            tracing::info!(embedder = %instance, "found an embedder for queries");
        }
        HealthChange::Ejected(instance) => {
            EJECTED_EMBEDDERS.inc();
            tracing::warn!(embedder = %instance, "an embedder answers no queries; asking others until it does");
        }
        HealthChange::Returned(instance) => {
            EJECTED_EMBEDDERS.dec();
            tracing::info!(embedder = %instance, "an embedder answers queries again");
        }
        HealthChange::Left(instance) => {
            EJECTED_EMBEDDERS.dec();
            tracing::info!(embedder = %instance, "an embedder that answered no queries has ended");
        }
    }
}
