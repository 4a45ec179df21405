//! Chooses the model of a role from the settings and from the collection in service.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use lookalike_client::{format_error, usage_error};
use lookalike_index::{Collection, Collections, Index, ModelSource};
use lookalike_vision::Description;
use lookalike_vision::registry::{self, WeightsOrigin};

use super::default::{ChosenModel, choose_default_model, describe_kept_model};
use super::requested::{RequestedModel, configured_model, model_identity, print_stage};
use crate::rollover::missing_model::{self, find_collection_model};
use crate::settings::Settings;

async fn collection_in_service(settings: &Settings) -> Result<Option<Collection>> {
    let collections = Collections::open(&settings.milvus).await?;
    Ok(collections.in_service().await?)
}

/// Returns the model that a role works with.
pub async fn resolve_model(settings: &Settings) -> Result<ChosenModel> {
    if let Some(model) = configured_model(settings).await? {
        let reason = None;
        return Ok(ChosenModel { model, reason });
    }
    let Some(collection) = collection_in_service(settings).await? else {
        return choose_default_model(settings, &print_stage).await;
    };
    match find_collection_model(settings, &collection).await {
        Ok(model) => Ok(ChosenModel {
            model,
            reason: describe_kept_model(settings, &collection),
        }),
        Err(error) => {
            let collections = Collections::open(&settings.milvus).await?;
            let way_back = missing_model::describe_way_back(&collections).await;
            Err(missing_model::missing_model_error(
                &collection,
                &error,
                &way_back,
            ))
        }
    }
}

/// Returns the model that made a collection.
async fn model_of_collection(
    settings: &Settings,
    collection: &Collection,
) -> Result<RequestedModel> {
    let model = find_collection_model(settings, collection).await;
    model.map_err(|error| missing_model::missing_model_error(collection, &error, ""))
}

/// Returns the description of a role's model, for roles that run no network, and the source to
/// record in a new collection. If a collection is in service, its own records are used, so that the
/// model's files need not be on this machine.
pub async fn resolve_description(settings: &Settings) -> Result<(Description, ModelSource)> {
    if settings.vision.model.is_empty()
        && let Some(collection) = collection_in_service(settings).await?
        && !collection.model_source.description.is_empty()
    {
        // This program's description of the same model may be newer than the recorded one.
        let bundled = Description::find_bundled(&collection.model.name);
        let bundled = bundled.filter(|description| model_identity(description) == collection.model);
        if let Some(bundled) = bundled {
            return Ok((bundled, collection.model_source));
        }
        let json = &collection.model_source.description;
        let description = Description::from_json(json, &collection.name).map_err(usage_error)?;
        return Ok((description, collection.model_source));
    }
    let ChosenModel { model, reason } = resolve_model(settings).await?;
    if let Some(reason) = reason {
        tracing::info!("{reason}");
    }
    let description = model.load_description()?;
    let source = model.to_model_source(&description)?;
    Ok((description, source))
}

/// Returns what [`resolve_description`] does, for an audit. An audit does not choose the model of a new
/// index: roles that are running may work with another one.
pub async fn resolve_audited_description(
    settings: &Settings,
) -> Result<(Description, ModelSource)> {
    if settings.vision.model.is_empty() && collection_in_service(settings).await?.is_none() {
        return Err(usage_error(anyhow!(
            "there is no index to compare with: start `lookalike up` or `lookalike embed`, which create \
             it, or set LOOKALIKE_VISION_MODEL to its model"
        )));
    }
    resolve_description(settings).await
}

/// Starts a new collection if the index was made with another version of a model that is part of the
/// program, at least in part.
///
/// This program no longer has that version, so the new collection goes into service at once and the
/// audit has everything embedded again. The old collection is kept until `models use --drop-old`.
/// Only `up` does this: it starts the servers, so no other command could roll over if it refused
/// to start.
pub async fn replace_outdated_collection(
    settings: &Settings,
    model: &RequestedModel,
    description: &Description,
) -> Result<()> {
    let required = model_identity(description);
    let is_part_of_program = registry::find_model(&model.locator)
        .is_some_and(|entry| !matches!(entry.origin, WeightsOrigin::Hub(_)));
    let is_outdated = |current: &Collection| {
        is_part_of_program && current.model.name == required.name && current.model != required
    };
    let Some(current) = collection_in_service(settings).await?.filter(is_outdated) else {
        return Ok(());
    };
    tracing::warn!(
        old = current.name,
        "the index was made with another version of {}: embedding every picture again",
        required.name
    );
    let source = model.to_model_source(description)?;
    let index = Index::open_shadow(&settings.milvus, &required, &source).await?;
    let collections = index.collections();
    collections.put_in_service(&index.collection()).await?;
    Ok(())
}

/// Returns the function by which a running embedder loads the models of collections that are put
/// in service.
pub fn model_loader(settings: &Settings) -> lookalike_embedder::EngineLoader {
    let settings = settings.clone();
    Arc::new(move |collection: Collection| {
        let settings = settings.clone();
        Box::pin(async move {
            let load = async {
                let model = model_of_collection(&settings, &collection).await?;
                model.start_engine(&settings).await
            };
            load.await.map_err(|error| format_error(&error))
        })
    })
}
