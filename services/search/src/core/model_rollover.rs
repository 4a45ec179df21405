//! The rollover to another model.
//!
//! The service polls which collection is in service. If it has another model, the service opens its
//! index, requests a trial vector from an embedder, and then replaces model and index at once.
//! Until then, and for requests in progress, it uses the previous ones.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, request_subject};
use lookalike_index::{Collection, Collections};
use lookalike_vision::{Description, Model};
use tokio_util::sync::CancellationToken;

use super::service::SearchService;
use super::serving_model::ServingModel;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Failed polls that are not reported: an embedder needs some seconds to load a model.
const MAX_SILENT_FAILURES: u32 = 3;

/// Failed polls between two warnings.
const FAILURES_BETWEEN_WARNINGS: u32 = 30;

/// Polls the served model until `shutdown`.
pub(crate) async fn run_model_rollover(service: Arc<SearchService>, shutdown: CancellationToken) {
    let mut failures = 0;
    let polling = async {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match poll_served_model(&service).await {
                Ok(()) => {
                    failures = 0;
                    service.model.set_rollover_error(None);
                }
                Err(_) if failures < MAX_SILENT_FAILURES => failures += 1,
                Err(reason) => {
                    let error = format!(
                        "searches still use the model {}, because the new one is not usable yet: \
                         {reason}",
                        service.model.load().description.name
                    );
                    if (failures - MAX_SILENT_FAILURES).is_multiple_of(FAILURES_BETWEEN_WARNINGS) {
                        tracing::warn!("{error}");
                    }
                    service.model.set_rollover_error(Some(error));
                    failures += 1;
                }
            }
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(polling).await;
}

/// Activates the model in service if it is another one. Returns why that is not possible yet.
async fn poll_served_model(service: &SearchService) -> Result<(), String> {
    let serving = service.model.load();
    let collections = serving.index.collections();
    let Some(collection) = find_new_collection(&collections, &serving).await else {
        return Ok(());
    };
    let description = load_description(&collection)?;
    let index = serving
        .index
        .open_for_model(&collection.model, &collection.model_source)
        .await
        .map_err(|error| error.to_string())?;
    if index.collection().as_ref() != collection.name {
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
    tracing::info!(
        model = description.name,
        collection = collection.name,
        "searches use another model now"
    );
    service.model.activate(ServingModel { index, description });
    Ok(())
}

/// Returns the collection in service if it has another model. Ignores lookup failures: searches
/// report them.
async fn find_new_collection(
    collections: &Collections,
    serving: &ServingModel,
) -> Option<Collection> {
    let name = collections.name_in_service().await.ok()??;
    if *name == *serving.index.collection() {
        return None;
    }
    let collection = collections.in_service().await.ok()??;
    if collection.model == *serving.index.model() {
        // The collection was recreated for the same model.
        if let Err(error) = serving.index.ensure_collection().await {
            tracing::debug!(%error, "cannot open the recreated collection");
        }
        return None;
    }
    Some(collection)
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
