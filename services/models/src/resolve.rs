//! `run_models`: what there is, what is here, and getting more; and what `--model` means.

mod bar;
mod cache;
mod error;
mod fetch;
mod hub;
mod list;
mod measure;
mod settings;

use lookalike_chassis::leave;
use lookalike_vision::registry::{self, HubRepository, RegisteredModel, WeightsOrigin};

pub use settings::Settings;

use crate::cli::{ModelsArgs, ModelsCommand, ModelsFetchArgs};
use crate::client;
use crate::failure::Failure;
use crate::settings::Settings as AllSettings;
use cache::CachedModel;
use error::Error;
use fetch::ModelFetch;

/// `run_models`.
///
/// # Errors
/// Whatever keeps the command from doing what it should.
pub async fn run_models(settings: &AllSettings, args: &ModelsArgs) -> Result<(), Failure> {
    match &args.command {
        None => list::run_list(settings, &args.list).await,
        Some(ModelsCommand::List(list)) => list::run_list(settings, list).await,
        Some(ModelsCommand::Use(args)) => crate::switch::run_models_use(settings, args).await,
        Some(ModelsCommand::Fetch(fetch)) => run_fetch(settings, fetch).await,
    }
}

/// What [`lookalike_vision::Model::load`] takes for a name or folder that a person gave: as it is
/// for a folder or the bundled model, and the folder in the cache for others, which are fetched
/// first if need be.
///
/// # Errors
/// When there is no such model, or it is not here and can't be fetched.
pub async fn resolve_model_path(settings: &AllSettings, model: &str) -> Result<String, Failure> {
    let Some((known, hub)) = find_hub_model(model) else {
        return Ok(model.to_owned());
    };
    let folder = ensure_fetched(settings, known, hub, settings.offline, false).await?;
    folder.into_os_string().into_string().map_err(|folder| {
        Failure::usage(format!(
            "the cache folder {} has a name that is no UTF-8: set servers.cache_dir",
            folder.display()
        ))
    })
}

/// A model that is known and on the hub; none that is bundled, a folder, or unknown.
fn find_hub_model(model: &str) -> Option<(&'static RegisteredModel, HubRepository)> {
    let known = registry::find_model(model)?;
    match known.origin {
        WeightsOrigin::Bundled => None,
        WeightsOrigin::Hub(hub) => Some((known, hub)),
    }
}

/// The model's folder, fetched where it is not complete.
async fn ensure_fetched(
    settings: &AllSettings,
    known: &'static RegisteredModel,
    hub: HubRepository,
    offline: bool,
    renew: bool,
) -> Result<std::path::PathBuf, Failure> {
    let models = cache::models_folder(settings).map_err(failed)?;
    let place = CachedModel::new(&models, known, hub);
    if !renew && let Some(folder) = place.complete_folder().map_err(failed)? {
        return Ok(folder);
    }
    if offline {
        return Err(failed(Error::Offline {
            name: known.name.to_owned(),
            folder: models.join(known.name),
        }));
    }
    let fetch = ModelFetch {
        settings: &settings.models,
        entry: known,
        hub,
        cached_model: place,
        renew,
    };
    tokio::select! {
        fetched = fetch.run() => fetched.map_err(failed),
        () = wait_for_interrupt() => Err(Failure::failed(format!(
            "stopped; what has arrived of {name} is kept, and `lookalike models fetch {name}` goes \
             on there",
            name = known.name
        ))),
    }
}

/// Until somebody asks the process to leave.
async fn wait_for_interrupt() {
    match leave::ShutdownSignals::new() {
        Ok(mut asked) => asked.wait_for_signal().await,
        Err(_) => std::future::pending().await,
    }
}

/// `models fetch`.
async fn run_fetch(settings: &AllSettings, args: &ModelsFetchArgs) -> Result<(), Failure> {
    let Some(known) = registry::find_model(&args.name) else {
        let hint = registry::closest_name(&args.name)
            .map(|like| format!(" (did you mean {like}?)"))
            .unwrap_or_default();
        return Err(Failure::usage(format!(
            "there is no model {:?} to fetch{hint}; known are {}",
            args.name,
            registry::join_names()
        )));
    };
    let WeightsOrigin::Hub(hub) = known.origin else {
        if args.json {
            client::print_json(&serde_json::json!({ "name": known.name, "bundled": true }));
        } else {
            println!(
                "{} comes with lookalike; there is nothing to fetch",
                known.name
            );
        }
        return Ok(());
    };
    let offline = settings.offline || args.offline;
    if offline && args.renew {
        return Err(Failure::usage(
            "--renew asks the hub, and nothing is downloaded with --offline",
        ));
    }
    let folder = ensure_fetched(settings, known, hub, offline, args.renew).await?;
    let models = cache::models_folder(settings).map_err(failed)?;
    let checking = tokio::task::spawn_blocking(move || {
        CachedModel::new(&models, known, hub).verify_checksums()
    });
    let lock = match checking.await {
        Ok(checked) => checked.map_err(failed)?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    if args.json {
        client::print_json(&serde_json::json!({
            "name": known.name,
            "folder": folder.display().to_string(),
            "lock": lock,
        }));
        return Ok(());
    }
    println!(
        "{} is here and as it must be: {}",
        known.name,
        folder.display()
    );
    println!("use it with --model {}", known.name);
    Ok(())
}

/// Wrong use where only the user can change something, a failure elsewhere.
fn failed(error: Error) -> Failure {
    match error {
        Error::NoCache | Error::InvalidHubAddress { .. } | Error::InvalidProxy { .. } => {
            Failure::usage(error)
        }
        _ => Failure::failed(error),
    }
}
