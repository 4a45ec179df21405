//! Going over to another model, when its collection was put in service: the service asks for the
//! name of the collection in service every other moment, prepares what the new model needs, has an
//! embedder answer a trial, and only then changes model and index, both at once. Until then, and
//! for requests under way, everything goes on with the old ones.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, request_subject};
use lookalike_index::{Collection, Collections};
use lookalike_vision::{Description, Model};
use tokio_util::sync::CancellationToken;

use crate::core::service::{SearchService, ServingModel};

/// How often it is asked which collection is in service.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// So many looks may find that the new model is not ready before that is worth a word.
const MAX_SILENT_FAILURES: u32 = 3;

/// Looks between two warnings that the new model can't be had.
const FAILURES_BETWEEN_WARNINGS: u32 = 30;

/// Follows the collection in service until `leave`.
pub(crate) async fn run_model_rollover(service: Arc<SearchService>, leave: CancellationToken) {
    let mut looks = 0;
    let following = async {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match poll_served_model(&service).await {
                Ok(()) => {
                    looks = 0;
                    service.set_rollover_error(None);
                }
                // An embedder needs a moment to load the model.
                Err(_) if looks < MAX_SILENT_FAILURES => looks += 1,
                Err(why) => {
                    let why = format!(
                        "searches go on with the model {}, because the one in service can't be \
                         used yet: {why}",
                        service.serving().description.name
                    );
                    if (looks - MAX_SILENT_FAILURES).is_multiple_of(FAILURES_BETWEEN_WARNINGS) {
                        tracing::warn!("{why}");
                    }
                    service.set_rollover_error(Some(why));
                    looks += 1;
                }
            }
        }
    };
    let _: Option<()> = leave.run_until_cancelled(following).await;
}

/// One look, and going over if there is a reason to; else why that can't be done now.
async fn poll_served_model(service: &SearchService) -> Result<(), String> {
    let serving = service.serving();
    let collections = serving.index.collections();
    let Some(found) = find_new_collection(&collections, &serving).await else {
        return Ok(());
    };
    let description = load_description(&found)?;
    let index = serving
        .index
        .open_for_model(&found.model, &found.model_source);
    let index = index.await.map_err(|error| error.to_string())?;
    if index.collection().as_ref() != found.name {
        return Err("the collection in service changed once more".to_owned());
    }
    index
        .check_ready()
        .await
        .map_err(|error| error.to_string())?;
    request_trial_vector(&service.bus, &description).await?;
    // Whoever asks for readiness goes by what embedders tell of themselves.
    let told = service.status.embedders();
    if !told
        .iter()
        .any(|one| one.serves_model(&description.checksum))
    {
        return Err("no embedder tells yet that it has the model".to_owned());
    }
    tracing::info!(
        model = description.name,
        collection = found.name,
        "searches go on with another model"
    );
    service.activate_model(ServingModel { index, description });
    Ok(())
}

/// The collection in service, if it is another one and can be asked about now.
async fn find_new_collection(
    collections: &Collections,
    serving: &ServingModel,
) -> Option<Collection> {
    // What can't be asked now is no news: searches have their own words for it.
    let name = collections.name_in_service().await.ok()??;
    if *name == *serving.index.collection() {
        return None;
    }
    let found = collections.in_service().await.ok()??;
    if found.model == *serving.index.model() {
        // Made anew for the same model.
        if let Err(error) = serving.index.ensure_collection().await {
            tracing::debug!(%error, "the collection in service can't be opened now");
        }
        return None;
    }
    Some(found)
}

/// The collection's own word for its model, else the model's.
fn load_description(found: &Collection) -> Result<Description, String> {
    let origin = &found.model_source;
    // The same model as this program knows it may say more than when the collection was made.
    let known = Description::find_bundled(&found.model.name).filter(|known| {
        known.checksum == found.model.checksum && known.fingerprint() == found.model.preprocessing
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let description = match (origin.description.as_str(), origin.locator.as_str()) {
        ("", "") => Model::load_description(&found.model.name),
        ("", source) => Model::load_description(source),
        (json, _) => Description::from_json(json, &found.name),
    };
    let description = description.map_err(|error| error.to_string())?;
    if description.checksum != found.model.checksum {
        return Err(format!(
            "the model {} that is known here has other weights than the one in service",
            description.name
        ));
    }
    Ok(description)
}

/// Whether an embedder answers for this model.
async fn request_trial_vector(bus: &Bus, description: &Description) -> Result<(), String> {
    let grey = vec![128; description.input_bytes()];
    let asked_as = request_subject(&description.name, &description.checksum);
    let embedded = bus.embed_pixels(&asked_as, grey).await;
    let embedded = embedded.map_err(|error| error.to_string())?;
    if embedded.checksum != description.checksum {
        return Err(format!(
            "an embedder answers with other weights of {}",
            description.name
        ));
    }
    Ok(())
}
