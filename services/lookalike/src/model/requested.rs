//! A model that was requested by name or folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use lookalike_client::usage_error;
use lookalike_index::{Collection, ModelIdentity, ModelSource};
use lookalike_models::Sources;
use lookalike_servers::{ServerProgress, ServerStage};
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
    /// A model that was named by `name_or_folder` and is loaded from `load_path`.
    pub(super) fn at_path(name_or_folder: &str, load_path: String) -> Result<Self> {
        let is_folder = load_path == name_or_folder && Path::new(name_or_folder).is_dir();
        let locator = match is_folder {
            // Another role may be started in another folder.
            true => absolute_folder(name_or_folder)?,
            false => name_or_folder.to_owned(),
        };
        Ok(Self { locator, load_path })
    }

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
    let load_path = resolve_load_path(settings, name_or_folder, &print_stage).await;
    RequestedModel::at_path(name_or_folder, load_path?.map_err(model_error)?)
}

/// Returns what [`Model::load`] takes. The outer error concerns the settings, the inner one the model.
pub(super) async fn resolve_load_path(
    settings: &Settings,
    name_or_folder: &str,
    on_stage: ServerProgress<'_>,
) -> Result<Result<String, lookalike_models::Error>> {
    let store = settings.open_model_store()?;
    let sources = Sources {
        hub: &settings.models,
        wheels: &settings.servers,
        on_stage,
    };
    let offline = settings.offline;
    Ok(lookalike_models::resolve_model_path(sources, &store, name_or_folder, offline).await)
}

/// Prints a stage of fetching on standard error, without its repeated percentages.
pub fn print_stage(stage: ServerStage) {
    if !matches!(stage, ServerStage::Unpacking { percent: 1.., .. }) {
        lookalike_chassis::stdio::eprint_line(&stage.to_string());
    }
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
