//! A model that was requested by name or folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use lookalike_client::usage_error;
use lookalike_index::{Collection, ModelIdentity, ModelSource};
use lookalike_vision::{Description, Engine, Model};

use crate::settings::Settings;

#[derive(Debug, Clone)]
pub struct RequestedModel {
    /// What other roles find the model by: its name, or the absolute path of its folder.
    pub locator: String,
    /// What [`Model::load`] takes on this machine.
    pub load_path: String,
}

impl RequestedModel {
    /// The properties that record this model in its collection.
    pub fn to_model_source(&self, description: &Description) -> Result<ModelSource> {
        Ok(ModelSource {
            locator: self.locator.clone(),
            description: serde_json::to_string(description)
                .context("cannot write the model's description as JSON")?,
        })
    }

    /// Reads the description, without building the network.
    pub fn load_description(&self) -> Result<Description> {
        Model::load_description(&self.load_path).map_err(usage_error)
    }

    /// Loads the model and starts it on its device.
    pub async fn start_engine(&self, settings: &Settings) -> Result<Arc<Engine>> {
        let (load_path, vision) = (self.load_path.clone(), settings.vision.clone());
        let starting = tokio::task::spawn_blocking(move || {
            let model = Model::load(&load_path)?;
            Engine::start(&model, &vision)
        });
        match starting.await {
            Ok(engine) => Ok(Arc::new(engine.map_err(usage_error)?)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// The identity that an index must have to be searched with this model.
pub fn model_identity(description: &Description) -> ModelIdentity {
    ModelIdentity {
        name: description.name.clone(),
        dimension: description.dimension,
        checksum: description.checksum.clone(),
        preprocessing: description.fingerprint(),
    }
}

/// What the model of a collection is found by.
pub fn lookup_name(collection: &Collection) -> &str {
    match collection.model_source.locator.as_str() {
        "" => &collection.model.name,
        locator => locator,
    }
}

/// Finds a model by name or folder, and fetches its missing files.
pub async fn find_model(settings: &Settings, name_or_folder: &str) -> Result<RequestedModel> {
    let store = settings.open_model_store()?;
    let load_path = lookalike_models::resolve_model_path(
        &settings.models,
        &store,
        name_or_folder,
        settings.offline,
    )
    .await
    .map_err(model_error)?;
    let is_folder = load_path == name_or_folder && Path::new(name_or_folder).is_dir();
    let locator = match is_folder {
        // Another role may be started in another folder.
        true => absolute_folder(name_or_folder)?,
        false => name_or_folder.to_owned(),
    };
    Ok(RequestedModel { locator, load_path })
}

/// Marks errors that the user can fix as wrong use.
pub fn model_error(error: lookalike_models::Error) -> anyhow::Error {
    match error.is_wrong_usage() {
        true => usage_error(error),
        false => error.into(),
    }
}

fn absolute_folder(folder: &str) -> Result<String> {
    let path =
        std::fs::canonicalize(folder).map_err(|error| usage_error(anyhow!("{folder}: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        usage_error(anyhow!(
            "the path of the model's folder must be valid UTF-8: {}",
            path.display()
        ))
    })
}

/// The model that the settings name, if they name one.
pub async fn configured_model(settings: &Settings) -> Result<Option<RequestedModel>> {
    match settings.vision.model.as_str() {
        "" => Ok(None),
        name => find_model(settings, name).await.map(Some),
    }
}
