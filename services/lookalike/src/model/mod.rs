//! Which model a role works with: the one that is named, else the one whose collection is in
//! service, else the one that comes with lookalike.

mod lost;

use std::path::Path;
use std::sync::Arc;

use lookalike_index::{Collection, Collections, Index, ModelIdentity, ModelSource};
use lookalike_vision::{DEFAULT_MODEL, Description, Engine, Model};

use crate::failure::Failure;
use crate::models;
use crate::roles::{failed_chain, usage_chain};
use crate::settings::Settings;

pub use lost::{reconcile_with_named_model, record_model_source, verify_obtainable};

/// A model that can be loaded here.
#[derive(Debug, Clone)]
pub struct RequestedModel {
    /// By what others find it: its name, or its folder's absolute path.
    pub source: String,
    /// What [`Model::load_path`] takes.
    pub load_path: String,
}

impl RequestedModel {
    /// What is written beside a collection of this model.
    ///
    /// # Errors
    /// When the description can't be written as JSON.
    pub fn to_model_source(&self, description: &Description) -> Result<ModelSource, Failure> {
        Ok(ModelSource {
            locator: self.source.clone(),
            description: serde_json::to_string(description).map_err(Failure::failed)?,
        })
    }

    /// Reads the description without the weights' network.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn load_description(&self) -> Result<Description, Failure> {
        Model::load_description(&self.load_path).map_err(usage_chain)
    }

    /// Loads the model and starts it on its device.
    ///
    /// # Errors
    /// When the model or the device is not to be had.
    pub async fn start_engine(&self, settings: &Settings) -> Result<Arc<Engine>, Failure> {
        let (load, vision) = (self.load_path.clone(), settings.vision.clone());
        let started = tokio::task::spawn_blocking(move || {
            let model = Model::load(&load)?;
            Engine::start(&model, &vision)
        });
        match started.await {
            Ok(engine) => Ok(Arc::new(engine.map_err(usage_chain)?)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// What an index must have been made by to be searched with this model.
pub fn model_identity(description: &Description) -> ModelIdentity {
    ModelIdentity {
        name: description.name.clone(),
        dimension: description.dimension,
        checksum: description.checksum.clone(),
        preprocessing: description.fingerprint(),
    }
}

/// Finds a model by name or folder, fetching what is missing of it.
///
/// # Errors
/// When there is no such model, or it can't be had.
pub async fn find_model(
    settings: &Settings,
    name_or_folder: &str,
) -> Result<RequestedModel, Failure> {
    let load = models::resolve_model_path(settings, name_or_folder).await?;
    let is_folder = load == name_or_folder && Path::new(name_or_folder).is_dir();
    let source = match is_folder {
        // Another role may be started elsewhere.
        true => absolute_folder(name_or_folder)?,
        false => name_or_folder.to_owned(),
    };
    Ok(RequestedModel {
        source,
        load_path: load,
    })
}

fn absolute_folder(folder: &str) -> Result<String, Failure> {
    let path = std::fs::canonicalize(folder)
        .map_err(|error| Failure::usage(format!("{folder}: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!(
            "the path of the model's folder must be UTF-8: {}",
            path.display()
        ))
    })
}

/// The model that the settings name.
///
/// # Errors
/// When there is no such model, or it can't be had.
pub async fn configured_model(settings: &Settings) -> Result<Option<RequestedModel>, Failure> {
    match settings.vision.model.as_str() {
        "" => Ok(None),
        name => find_model(settings, name).await.map(Some),
    }
}

/// The collection in service, if there is one.
///
/// # Errors
/// When Milvus does not answer.
pub async fn collection_in_service(settings: &Settings) -> Result<Option<Collection>, Failure> {
    let collections = Collections::open(&settings.milvus).await;
    let collections = collections.map_err(failed_chain)?;
    collections.in_service().await.map_err(failed_chain)
}

/// By what a collection's model is found.
pub fn lookup_name(collection: &Collection) -> &str {
    match collection.model_source.locator.as_str() {
        "" => &collection.model.name,
        source => source,
    }
}

/// The model that a role works with.
///
/// # Errors
/// When Milvus does not answer, or the model can't be had.
pub async fn resolve_model(settings: &Settings) -> Result<RequestedModel, Failure> {
    if let Some(named) = configured_model(settings).await? {
        return Ok(named);
    }
    let Some(collection) = collection_in_service(settings).await? else {
        return find_model(settings, DEFAULT_MODEL).await;
    };
    match lost::find_collection_model(settings, &collection).await {
        Ok(named) => Ok(named),
        Err(failure) => {
            let collections = Collections::open(&settings.milvus).await;
            let collections = collections.map_err(failed_chain)?;
            let told = lost::explain_missing_model(&collection, &failure);
            let back = lost::describe_way_back(&collections).await;
            Err(Failure::usage(format!("{told}{back}")))
        }
    }
}

/// The model that made a collection.
///
/// # Errors
/// When it can't be had.
pub async fn model_of_collection(
    settings: &Settings,
    collection: &Collection,
) -> Result<RequestedModel, Failure> {
    let found = lost::find_collection_model(settings, collection).await;
    found.map_err(|failure| Failure::usage(lost::explain_missing_model(collection, &failure)))
}

/// What a role's model is, for roles that run no network, and what a new collection says of it:
/// where a collection is in service, in that one's own words.
///
/// # Errors
/// When Milvus does not answer, or the model can't be had.
pub async fn resolve_description(
    settings: &Settings,
) -> Result<(Description, ModelSource), Failure> {
    if settings.vision.model.is_empty()
        && let Some(collection) = collection_in_service(settings).await?
        && !collection.model_source.description.is_empty()
    {
        // The same model as this program knows it may say more than when the collection was made.
        let known = Description::find_bundled(&collection.model.name);
        if let Some(known) = known.filter(|known| model_identity(known) == collection.model) {
            return Ok((known, collection.model_source));
        }
        let json = &collection.model_source.description;
        let description = Description::from_json(json, &collection.name).map_err(usage_chain)?;
        return Ok((description, collection.model_source));
    }
    let named = resolve_model(settings).await?;
    let description = named.load_description()?;
    let origin = named.to_model_source(&description)?;
    Ok((description, origin))
}

/// Where the index was made with another version of the model that comes with lookalike, nobody has
/// the old one any more: a new collection takes its place, and the audit has everything embedded
/// again. The old one is kept until `models use --drop-old`. For `up`, beside whose servers nothing
/// else could go over while it refuses to start.
///
/// # Errors
/// When Milvus does not answer.
pub async fn replace_outdated_collection(
    settings: &Settings,
    named: &RequestedModel,
    description: &Description,
) -> Result<(), Failure> {
    let wanted = model_identity(description);
    let outdated = |current: &Collection| {
        named.source == DEFAULT_MODEL
            && current.model.name == wanted.name
            && current.model != wanted
    };
    let Some(current) = collection_in_service(settings).await?.filter(outdated) else {
        return Ok(());
    };
    tracing::warn!(
        old = current.name,
        "the index was made with another version of {}: every picture is embedded again",
        wanted.name
    );
    let origin = named.to_model_source(description)?;
    let renewed = async {
        let index = Index::open_shadow(&settings.milvus, &wanted, &origin).await?;
        let collections = index.collections();
        collections.put_in_service(&index.collection()).await
    };
    renewed.await.map_err(failed_chain)
}

/// Loads the models of collections that are put in service while a worker runs.
pub fn model_loader(settings: &Settings) -> lookalike_embedder::EngineLoader {
    let settings = settings.clone();
    Arc::new(move |collection: Collection| {
        let settings = settings.clone();
        Box::pin(async move {
            let load = async {
                let named = model_of_collection(&settings, &collection).await?;
                named.start_engine(&settings).await
            };
            load.await.map_err(|failure: Failure| failure.to_string())
        })
    })
}
