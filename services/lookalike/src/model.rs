//! Which model a role works with: the one that is named, else the one whose collection is in
//! service, else the one that comes with lookalike.

mod lost;

use std::path::Path;
use std::sync::Arc;

use lookalike_index::{Collection, Collections, Index, ModelIdentity, Origin};
use lookalike_vision::{DEFAULT, Description, Engine, Model};

use crate::failure::Failure;
use crate::models;
use crate::roles::{failed_chain, usage_chain};
use crate::settings::Settings;

pub use lost::{is_to_be_had, remember, settle};

/// A model that can be loaded here.
#[derive(Debug, Clone)]
pub struct Named {
    /// By what others find it: its name, or its folder's absolute path.
    pub source: String,
    /// What [`Model::load`] takes.
    pub load: String,
}

impl Named {
    /// What is written beside a collection of this model.
    ///
    /// # Errors
    /// When the description can't be written as JSON.
    pub fn origin(&self, description: &Description) -> Result<Origin, Failure> {
        Ok(Origin {
            source: self.source.clone(),
            description: serde_json::to_string(description).map_err(Failure::failed)?,
        })
    }

    /// Reads the description without the weights' network.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn description(&self) -> Result<Description, Failure> {
        Model::load_description(&self.load).map_err(usage_chain)
    }

    /// Loads the model and starts it on its device.
    ///
    /// # Errors
    /// When the model or the device is not to be had.
    pub async fn engine(&self, settings: &Settings) -> Result<Arc<Engine>, Failure> {
        let (load, vision) = (self.load.clone(), settings.vision.clone());
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
pub fn identity(description: &Description) -> ModelIdentity {
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
pub async fn find(settings: &Settings, name_or_folder: &str) -> Result<Named, Failure> {
    let load = models::resolve(settings, name_or_folder).await?;
    let is_folder = load == name_or_folder && Path::new(name_or_folder).is_dir();
    let source = match is_folder {
        // Another role may be started elsewhere.
        true => absolute(name_or_folder)?,
        false => name_or_folder.to_owned(),
    };
    Ok(Named { source, load })
}

fn absolute(folder: &str) -> Result<String, Failure> {
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
pub async fn named(settings: &Settings) -> Result<Option<Named>, Failure> {
    match settings.vision.model.as_str() {
        "" => Ok(None),
        name => find(settings, name).await.map(Some),
    }
}

/// The collection in service, if there is one.
///
/// # Errors
/// When Milvus does not answer.
pub async fn in_service(settings: &Settings) -> Result<Option<Collection>, Failure> {
    let collections = Collections::open(&settings.milvus).await;
    let collections = collections.map_err(failed_chain)?;
    collections.in_service().await.map_err(failed_chain)
}

/// By what a collection's model is found.
pub fn source(collection: &Collection) -> &str {
    match collection.origin.source.as_str() {
        "" => &collection.model.name,
        source => source,
    }
}

/// The model that a role works with.
///
/// # Errors
/// When Milvus does not answer, or the model can't be had.
pub async fn chosen(settings: &Settings) -> Result<Named, Failure> {
    if let Some(named) = named(settings).await? {
        return Ok(named);
    }
    let Some(collection) = in_service(settings).await? else {
        return find(settings, DEFAULT).await;
    };
    match lost::look(settings, &collection).await {
        Ok(named) => Ok(named),
        Err(failure) => {
            let collections = Collections::open(&settings.milvus).await;
            let collections = collections.map_err(failed_chain)?;
            let told = lost::told(&collection, &failure);
            let back = lost::way_back(&collections).await;
            Err(Failure::usage(format!("{told}{back}")))
        }
    }
}

/// The model that made a collection.
///
/// # Errors
/// When it can't be had.
pub async fn of_collection(settings: &Settings, collection: &Collection) -> Result<Named, Failure> {
    let found = lost::look(settings, collection).await;
    found.map_err(|failure| Failure::usage(lost::told(collection, &failure)))
}

/// What a role's model is, for roles that run no network, and what a new collection says of it:
/// where a collection is in service, in that one's own words.
///
/// # Errors
/// When Milvus does not answer, or the model can't be had.
pub async fn description(settings: &Settings) -> Result<(Description, Origin), Failure> {
    if settings.vision.model.is_empty()
        && let Some(collection) = in_service(settings).await?
        && !collection.origin.description.is_empty()
    {
        // The same model as this program knows it may say more than when the collection was made.
        let known = Description::bundled(&collection.model.name);
        if let Some(known) = known.filter(|known| identity(known) == collection.model) {
            return Ok((known, collection.origin));
        }
        let json = &collection.origin.description;
        let description = Description::parse(json, &collection.name).map_err(usage_chain)?;
        return Ok((description, collection.origin));
    }
    let named = chosen(settings).await?;
    let description = named.description()?;
    let origin = named.origin(&description)?;
    Ok((description, origin))
}

/// Where the index was made with another version of the model that comes with lookalike, nobody has
/// the old one any more: a new collection takes its place, and the audit has everything embedded
/// again. The old one is kept until `models use --drop-old`. For `up`, beside whose servers nothing
/// else could go over while it refuses to start.
///
/// # Errors
/// When Milvus does not answer.
pub async fn renew(
    settings: &Settings,
    named: &Named,
    description: &Description,
) -> Result<(), Failure> {
    let wanted = identity(description);
    let outdated = |current: &Collection| {
        named.source == DEFAULT && current.model.name == wanted.name && current.model != wanted
    };
    let Some(current) = in_service(settings).await?.filter(outdated) else {
        return Ok(());
    };
    tracing::warn!(
        old = current.name,
        "the index was made with another version of {}: every picture is embedded again",
        wanted.name
    );
    let origin = named.origin(description)?;
    let renewed = async {
        let index = Index::open_shadow(&settings.milvus, &wanted, &origin).await?;
        let collections = index.collections();
        collections.put_in_service(&index.collection()).await
    };
    renewed.await.map_err(failed_chain)
}

/// Loads the models of collections that are put in service while a worker runs.
pub fn loader(settings: &Settings) -> lookalike_embedder::Load {
    let settings = settings.clone();
    Arc::new(move |collection: Collection| {
        let settings = settings.clone();
        Box::pin(async move {
            let load = async {
                let named = of_collection(&settings, &collection).await?;
                named.engine(&settings).await
            };
            load.await.map_err(|failure: Failure| failure.to_string())
        })
    })
}
