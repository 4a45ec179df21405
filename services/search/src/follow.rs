//! Going over to another model, when its collection was put in service: the service asks for the
//! name of the collection in service every other moment, prepares what the new model needs, has an
//! embedder answer a trial, and only then changes model and index, both at once. Until then, and
//! for requests under way, everything goes on with the old ones.

use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Bus, asked_as};
use lookalike_index::{Collection, Collections};
use lookalike_vision::{Description, Model};
use tokio_util::sync::CancellationToken;

use crate::service::{Service, Serving};

/// How often it is asked which collection is in service.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So many looks may find that the new model is not ready before that is worth a word.
const LOOKS_UNTIL_NEWS: u32 = 3;

/// Looks between two warnings that the new model can't be had.
const LOOKS_BETWEEN_WARNINGS: u32 = 30;

/// Follows the collection in service until `leave`.
pub(crate) async fn follow(service: Arc<Service>, leave: CancellationToken) {
    let mut looks = 0;
    let following = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match turn(&service).await {
                Ok(()) => {
                    looks = 0;
                    service.say_left_behind(None);
                }
                // An embedder needs a moment to load the model.
                Err(_) if looks < LOOKS_UNTIL_NEWS => looks += 1,
                Err(why) => {
                    let why = format!(
                        "searches go on with the model {}, because the one in service can't be \
                         used yet: {why}",
                        service.serving().description.name
                    );
                    if (looks - LOOKS_UNTIL_NEWS).is_multiple_of(LOOKS_BETWEEN_WARNINGS) {
                        tracing::warn!("{why}");
                    }
                    service.say_left_behind(Some(why));
                    looks += 1;
                }
            }
        }
    };
    let _: Option<()> = leave.run_until_cancelled(following).await;
}

/// One look, and going over if there is a reason to; else why that can't be done now.
async fn turn(service: &Service) -> Result<(), String> {
    let serving = service.serving();
    let collections = serving.index.collections();
    let Some(found) = changed(&collections, &serving).await else {
        return Ok(());
    };
    let description = description(&found)?;
    let index = serving.index.of_model(&found.model, &found.origin);
    let index = index.await.map_err(|error| error.to_string())?;
    if index.collection().as_ref() != found.name {
        return Err("the collection in service changed once more".to_owned());
    }
    index.ready().await.map_err(|error| error.to_string())?;
    trial(&service.bus, &description).await?;
    // Whoever asks for readiness goes by what embedders tell of themselves.
    let told = service.status.embedders();
    if !told
        .iter()
        .any(|one| one.answers_for(&description.checksum))
    {
        return Err("no embedder tells yet that it has the model".to_owned());
    }
    tracing::info!(
        model = description.name,
        collection = found.name,
        "searches go on with another model"
    );
    service.go_over(Serving { index, description });
    Ok(())
}

/// The collection in service, if it is another one and can be asked about now.
async fn changed(collections: &Collections, serving: &Serving) -> Option<Collection> {
    // What can't be asked now is no news: searches have their own words for it.
    let name = collections.name_in_service().await.ok()??;
    if *name == *serving.index.collection() {
        return None;
    }
    let found = collections.in_service().await.ok()??;
    if found.model == *serving.index.model() {
        // Made anew for the same model.
        if let Err(error) = serving.index.ensure().await {
            tracing::debug!(%error, "the collection in service can't be opened now");
        }
        return None;
    }
    Some(found)
}

/// The collection's own word for its model, else the model's.
fn description(found: &Collection) -> Result<Description, String> {
    let origin = &found.origin;
    // The same model as this program knows it may say more than when the collection was made.
    let known = Description::bundled(&found.model.name).filter(|known| {
        known.checksum == found.model.checksum && known.fingerprint() == found.model.preprocessing
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let description = match (origin.description.as_str(), origin.source.as_str()) {
        ("", "") => Model::load_description(&found.model.name),
        ("", source) => Model::load_description(source),
        (json, _) => Description::parse(json, &found.name),
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
async fn trial(bus: &Bus, description: &Description) -> Result<(), String> {
    let grey = vec![128; description.input_bytes()];
    let asked_as = asked_as(&description.name, &description.checksum);
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
