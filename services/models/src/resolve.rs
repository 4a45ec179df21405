//! Turns the name or folder given with `--model` into a path to load, and fetches what is missing.

use std::path::PathBuf;

use lookalike_chassis::shutdown::ShutdownSignals;
use lookalike_vision::registry::{self, HubRepository, RegisteredModel, WeightsOrigin};

use crate::error::Error;
use crate::fetch::ModelFetch;
use crate::settings::Settings;
use crate::store::{ModelLock, ModelStore};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// Download nothing.
    pub offline: bool,
    /// Replace the checksums of the first fetch by those that the hub has now.
    pub renew: bool,
}

/// The result of `models fetch`.
#[derive(Debug)]
pub enum FetchedModel {
    Bundled {
        name: &'static str,
    },
    Verified {
        name: &'static str,
        folder: PathBuf,
        lock: ModelLock,
    },
}

/// Returns what [`lookalike_vision::Model::load`] takes for a name or folder: the argument itself
/// for a folder, the bundled model or an unknown name, and the folder in the store otherwise. A
/// registered model that is not in the store is fetched first.
pub async fn resolve_model_path(
    settings: &Settings,
    store: &ModelStore,
    name_or_folder: &str,
    offline: bool,
) -> Result<String, Error> {
    let Some((entry, repository)) = find_hub_model(name_or_folder) else {
        return Ok(name_or_folder.to_owned());
    };
    let options = FetchOptions {
        offline,
        renew: false,
    };
    let folder = ensure_fetched(settings, store, entry, repository, options).await?;
    folder
        .into_os_string()
        .into_string()
        .map_err(|folder| Error::CacheFolderNotUtf8 {
            path: folder.into(),
        })
}

/// The registry entry of a model that is stored on the hub.
fn find_hub_model(name: &str) -> Option<(&'static RegisteredModel, HubRepository)> {
    let entry = registry::find_model(name)?;
    match entry.origin {
        WeightsOrigin::Bundled => None,
        WeightsOrigin::Hub(repository) => Some((entry, repository)),
    }
}

async fn ensure_fetched(
    settings: &Settings,
    store: &ModelStore,
    entry: &'static RegisteredModel,
    repository: HubRepository,
    options: FetchOptions,
) -> Result<PathBuf, Error> {
    let cached_model = store.cached_model(entry, repository);
    if !options.renew
        && let Some(folder) = cached_model.complete_folder()?
    {
        return Ok(folder);
    }
    if options.offline {
        return Err(Error::Offline {
            name: entry.name.to_owned(),
            folder: cached_model.folder().to_owned(),
        });
    }
    let fetch = ModelFetch {
        settings,
        entry,
        repository,
        cached_model: &cached_model,
        renew: options.renew,
    };
    tokio::select! {
        folder = fetch.run() => folder,
        () = wait_for_signal() => Err(Error::Interrupted {
            name: entry.name.to_owned(),
        }),
    }
}

async fn wait_for_signal() {
    match ShutdownSignals::new() {
        Ok(mut signals) => signals.wait_for_signal().await,
        Err(_) => std::future::pending().await,
    }
}

/// Fetches the registered model `name` if it is incomplete, and verifies all its checksums.
pub async fn fetch_model(
    settings: &Settings,
    store: &ModelStore,
    name: &str,
    options: FetchOptions,
) -> Result<FetchedModel, Error> {
    let Some(entry) = registry::find_model(name) else {
        return Err(Error::UnknownModel {
            name: name.to_owned(),
            suggestion: registry::closest_name(name)
                .map(|closest| format!(" (did you mean {closest}?)"))
                .unwrap_or_default(),
            known_names: registry::join_names(),
        });
    };
    let WeightsOrigin::Hub(repository) = entry.origin else {
        return Ok(FetchedModel::Bundled { name: entry.name });
    };
    if options.offline && options.renew {
        return Err(Error::RenewOffline);
    }
    let folder = ensure_fetched(settings, store, entry, repository, options).await?;
    let cached_model = store.cached_model(entry, repository);
    let verifying = tokio::task::spawn_blocking(move || cached_model.verify_checksums());
    let lock = match verifying.await {
        Ok(lock) => lock?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    Ok(FetchedModel::Verified {
        name: entry.name,
        folder,
        lock,
    })
}
