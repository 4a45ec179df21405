//! The rollover to another model.
//!
//! A [`ServedModelWatcher`] polls which collection is in service. If it has another model, the
//! service opens its index, requests a trial vector from an embedder, and then replaces model and
//! index at once. Until then, and for requests in progress, it uses the previous ones.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, request_subject};
use lookalike_index::{Collection, Index, ServedModel, ServedModelWatcher};
use lookalike_vision::{Description, Model};
use tokio_util::sync::CancellationToken;

use super::service::ServiceState;
use super::serving_model::{CurrentModel, ServingModel};

/// At most the poll interval, so that every poll retries. Retries are cheap: they load no weights.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(1);

/// Failed attempts that are not reported: an embedder needs some seconds to load a model.
const MAX_SILENT_FAILURES: u32 = 3;

/// Failed attempts between two warnings.
const FAILURES_BETWEEN_WARNINGS: u32 = 30;

/// Follows the served model until `shutdown`.
pub(crate) async fn run_model_rollover(service: Arc<ServiceState>, shutdown: CancellationToken) {
    let following = async {
        loop {
            let next = wait_for_usable_model(&service).await;
            tracing::info!(
                model = next.description.name,
                collection = &*next.index.collection(),
                "searches use another model now"
            );
            service.model.replace_model(next);
            service.model.set_rollover_error(None);
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(following).await;
}

/// Waits until another model's collection is in service and searches can use it.
async fn wait_for_usable_model(service: &ServiceState) -> ServingModel {
    let index = service.model.load().index.clone();
    let mut watcher = ServedModelWatcher::new(index.clone()).with_max_retry_wait(MAX_RETRY_WAIT);
    loop {
        let collection = match watcher.poll().await {
            ServedModel::Own => {
                let subject = service.model.load().request_subject();
                service.bus.follow_embedders(&subject);
                service.model.set_rollover_error(None);
                continue;
            }
            ServedModel::RetryLater(_) => continue,
            ServedModel::Other(collection) => collection,
        };
        match open_served_model(service, &index, &collection).await {
            Ok(next) => return next,
            Err(reason) => {
                watcher.record_failure(&collection);
                report_failure(&service.model, watcher.failures(), &reason);
            }
        }
    }
}

/// Reports why searches cannot use the model in service yet. `failures` includes this one.
fn report_failure(current: &CurrentModel, failures: u32, reason: &str) {
    if failures <= MAX_SILENT_FAILURES {
        return;
    }
    let error = format!(
        "searches still use the model {}, because the new one is not usable yet: {reason}",
        current.load().description.name
    );
    if (failures - MAX_SILENT_FAILURES - 1).is_multiple_of(FAILURES_BETWEEN_WARNINGS) {
        tracing::warn!("{error}");
    }
    current.set_rollover_error(Some(error));
}

/// Opens the index of a collection that was put in service, and checks that an embedder serves its
/// model. Returns why searches cannot use it yet.
async fn open_served_model(
    service: &ServiceState,
    current_index: &Index,
    collection: &Collection,
) -> Result<ServingModel, String> {
    let description = load_description(collection)?;
    let index = current_index
        .open_for_model(&collection.model, &collection.model_source)
        .await
        .map_err(|error| error.to_string())?;
    if *index.collection() != *collection.name {
        return Err("the collection in service changed again".to_owned());
    }
    index
        .check_ready()
        .await
        .map_err(|error| error.to_string())?;
    request_trial_vector(&service.bus, &description).await?;
    // The readiness check relies on the status of the embedders.
    let embedders = service.status.embedders();
    if !embedders
        .iter()
        .any(|embedder| embedder.serves_model(&description.checksum))
    {
        return Err("no embedder has loaded the model yet".to_owned());
    }
    Ok(ServingModel {
        index,
        description: Arc::new(description),
    })
}

/// Returns the description stored with the collection, else that of the model's files.
fn load_description(collection: &Collection) -> Result<Description, String> {
    let source = &collection.model_source;
    // A bundled description of the same model may be newer than the stored one.
    let bundled = Description::find_bundled(&collection.model.name).filter(|bundled| {
        bundled.checksum == collection.model.checksum
            && bundled.fingerprint() == collection.model.preprocessing
    });
    if let Some(bundled) = bundled {
        return Ok(bundled);
    }
    let description = match (source.description.as_str(), source.locator.as_str()) {
        ("", "") => Model::load_description(&collection.model.name),
        ("", locator) => Model::load_description(locator),
        (json, _) => Description::from_json(json, &collection.name),
    };
    let description = description.map_err(|error| error.to_string())?;
    if description.checksum != collection.model.checksum {
        return Err(format!(
            "the local model {} has other weights than the one in service",
            description.name
        ));
    }
    Ok(description)
}

/// Checks that an embedder serves this model.
async fn request_trial_vector(bus: &Bus, description: &Description) -> Result<(), String> {
    let grey = vec![128; description.input_bytes()];
    let subject = request_subject(&description.name, &description.checksum);
    let reply = bus
        .embed_pixels(&subject, grey)
        .await
        .map_err(|error| error.to_string())?;
    if reply.checksum != description.checksum {
        return Err(format!(
            "an embedder serves other weights of {}",
            description.name
        ));
    }
    Ok(())
}
