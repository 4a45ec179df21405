//! Rollover: the embedder over changes of the model. `docs/rollover.md` describes the whole.
//!
//! When another model's collection is put in service, the embedder loads that model, answers its
//! queries, drains the worker of the old model, and starts a worker for the new one. It answers the
//! old model's queries for a minute more, until every search service uses the new model.
//!
//! If the new model cannot be loaded, the worker continues with the old one, reports
//! `rollover_error`, and retries.
//!
//! `copy` fills the collection of another model; `lookalike models use` runs it.

mod content;
pub mod copy;
pub(crate) mod responders;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use lookalike_bus::StatusView;
use lookalike_index::{Collection, Error as IndexError, Index, ServedModel, ServedModelWatcher};
use lookalike_vision::Engine;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::golden;
use crate::worker::{Context, Worker};
use responders::QueryResponders;

/// Loads the model of a collection and starts it on its device. Its error is the reason.
pub type EngineLoader =
    Arc<dyn Fn(Collection) -> BoxFuture<'static, Result<Arc<Engine>, String>> + Send + Sync>;

/// Runs until `shutdown` with the model in service. Events in flight at the shutdown are finished,
/// for `embed.drain_timeout` at most. Unfinished ones are deferred, so their watcher sends them again
/// and nothing is delivered twice.
///
/// # Errors
/// Milvus permanently refuses this worker (for example because of wrong credentials), its device
/// fails, or too many decoders hang.
pub async fn run_embedder(
    mut context: Context,
    load: EngineLoader,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let responders = QueryResponders::new(
        context.bus.clone(),
        context.instance.clone(),
        context.settings.max_queries,
    );
    let result = loop {
        responders.start_responder(&context.engine);
        responders.retire_others(&context.engine);
        match run_until_rollover(&context, &load, &responders, &shutdown).await {
            Ok(Some(target)) if !shutdown.is_cancelled() => {
                (context.engine, context.index) = (target.engine, target.index);
            }
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    responders.stop_responders().await;
    result
}

/// The loaded model of a collection that was put in service, and the collection.
struct RolloverTarget {
    engine: Arc<Engine>,
    index: Index,
}

/// Runs a worker until the shutdown, or until another model is in service and loaded. The worker is
/// drained in both cases.
async fn run_until_rollover(
    context: &Context,
    load: &EngineLoader,
    responders: &QueryResponders,
    shutdown: &CancellationToken,
) -> Result<Option<RolloverTarget>, Error> {
    let stop_worker = shutdown.child_token();
    let working = run_worker(context.clone(), responders, &stop_worker);
    tokio::pin!(working);
    let rollover = wait_for_next_model(context, load, responders);
    tokio::pin!(rollover);
    let target = tokio::select! {
        result = &mut working => {
            return match result {
                // The collection went out of service while the worker wrote to it.
                Err(Error::Index(IndexError::ModelMismatch { .. })) if !shutdown.is_cancelled() => {
                    tracing::warn!("the index now belongs to another model");
                    Ok(shutdown.run_until_cancelled(rollover).await)
                }
                result => result.map(|()| None),
            };
        }
        target = &mut rollover => target,
    };
    tracing::info!(
        model = target.engine.description().name,
        collection = %target.index.collection(),
        "another model's collection is in service: finishing the events in flight"
    );
    // Its queries are answered from now on, so search services can start to use it.
    responders.start_responder(&target.engine);
    stop_worker.cancel();
    match working.await {
        Ok(()) | Err(Error::Index(IndexError::ModelMismatch { .. })) => Ok(Some(target)),
        Err(error) => Err(error),
    }
}

async fn run_worker(
    context: Context,
    responders: &QueryResponders,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let mut worker = Worker::new(context, responders, shutdown);
    worker.run().await;
    worker.drain().await
}

/// Waits until another model's collection is in service and its model is loaded.
async fn wait_for_next_model(
    context: &Context,
    load: &EngineLoader,
    responders: &QueryResponders,
) -> RolloverTarget {
    let mut watcher = ServedModelWatcher::new(context.index.clone());
    let stop_status = CancellationToken::new();
    let _stop_status = stop_status.clone().drop_guard();
    let mut status = None;
    loop {
        let collection = match watcher.poll().await {
            ServedModel::Own => {
                responders.set_rollover_error(None);
                responders.set_intake_paused(false);
                continue;
            }
            ServedModel::RetryLater(collection) => collection,
            ServedModel::Other(collection) => {
                match load_served_model(context, load, responders, &collection).await {
                    Ok(target) => {
                        responders.set_rollover_error(None);
                        responders.set_intake_paused(false);
                        return target;
                    }
                    Err(reason) => {
                        let error = format!(
                            "cannot use the model {}, which is in service now: {reason}",
                            collection.model.name
                        );
                        tracing::error!("{error}; continuing with the old model and retrying");
                        responders.set_rollover_error(Some(error));
                        watcher.record_failure(&collection);
                        collection
                    }
                }
            }
        };
        let status = status.get_or_insert_with(|| context.bus.watch_status(stop_status.clone()));
        pause_if_others_follow(status, &collection, responders);
    }
}

/// Pauses the intake if another embedder uses this collection.
fn pause_if_others_follow(
    status: &StatusView,
    collection: &Collection,
    responders: &QueryResponders,
) {
    let embedders = status.embedders();
    if embedders
        .iter()
        .any(|embedder| embedder.collection == collection.name)
    {
        // Stay paused even if those embedders stop: embedders that start later also use that
        // collection.
        responders.set_intake_paused(true);
    }
}

/// Loads the model of a collection that was put in service, and opens the collection.
async fn load_served_model(
    context: &Context,
    load: &EngineLoader,
    responders: &QueryResponders,
    collection: &Collection,
) -> Result<RolloverTarget, String> {
    let engine = match responders.find_engine(&collection.model) {
        Some(engine) => engine,
        None => load(collection.clone()).await?,
    };
    if engine.description().checksum != collection.model.checksum {
        return Err("the loaded model has other weights".to_owned());
    }
    let index = context
        .index
        .open_for_model(&collection.model, &collection.model_source)
        .await;
    let index = index.map_err(|error| error.to_string())?;
    golden::compare_golden_vector(&index, &engine)
        .await
        .map_err(|error| error.to_string())?;
    Ok(RolloverTarget { engine, index })
}
