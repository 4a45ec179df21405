//! Builds an [`App`]: binds its address, starts the servers, loads the model, and connects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use lookalike_client::usage_error;
use lookalike_proto::LibraryName;
use lookalike_search::BoundListener;
use lookalike_servers::Servers;
use lookalike_vision::Engine;
use lookalike_watcher::Watcher;
use tokio_util::sync::CancellationToken;

use super::connected::{RoleConnections, connect_role};
use super::progress::UpProgress;
use super::role::AppRole;
use super::servers::{start_servers, wanted_servers};
use crate::model::{ChosenModel, RequestedModel, choose_default_model, configured_model};
use crate::settings::Settings;

/// Folder of Milvus in the data folder. Without it, there is no index yet.
const MILVUS_FOLDER: &str = "milvus";

/// A process that is ready to run its roles.
pub(super) struct App {
    pub(super) role: AppRole,
    /// With the URLs of the servers that were started.
    pub(super) settings: Settings,
    pub(super) libraries: BTreeMap<LibraryName, PathBuf>,
    /// Of processes with a watcher.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) listener: BoundListener,
    pub(super) connected: RoleConnections,
    pub(super) watcher: Option<Watcher>,
    pub(super) servers: Option<Servers>,
    /// Whether Milvus is a child of this process.
    pub(super) owns_milvus: bool,
}

impl App {
    /// Builds the roles. Returns `None` if `shutdown` is cancelled first. Servers that were started
    /// are stopped if this does not return an `App`.
    pub(super) async fn build(
        role: AppRole,
        mut settings: Settings,
        libraries: BTreeMap<LibraryName, PathBuf>,
        progress: &UpProgress,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>> {
        let data_dir = match role.has_watcher() {
            true => Some(settings.data_dir()?),
            false => None,
        };
        let listener = lookalike_search::bind_address(&settings.http.listen)
            .await
            .map_err(usage_error)?;
        // A wrong device fails before anything is downloaded or started.
        if matches!(role, AppRole::All | AppRole::Embedder) {
            Engine::check_devices(&settings.vision).map_err(usage_error)?;
        }
        // A wrong model fails before anything is downloaded or started. Without `--model`, the model
        // is that of the index, which is known only when Milvus runs.
        let named_model = match role {
            AppRole::All => configured_model(&settings).await?,
            _ => None,
        };
        if let Some(model) = &named_model {
            model.load_description()?;
        }
        let owns_milvus = role == AppRole::All && wanted_servers(&settings).milvus;
        let is_first_start = |dir: &PathBuf| owns_milvus && !dir.join(MILVUS_FOLDER).exists();
        let known_model = match named_model {
            None if data_dir.as_ref().is_some_and(is_first_start) => {
                let choosing = choose_model(&settings, progress);
                match shutdown.run_until_cancelled(choosing).await.transpose()? {
                    Some(model) => Some(model),
                    None => return Ok(None),
                }
            }
            named_model => named_model,
        };
        let (mut servers, mut loaded) = (None, None);
        if let (AppRole::All, Some(data_dir)) = (role, &data_dir) {
            let starting = start_servers_and_model(&mut settings, data_dir, known_model, progress);
            let started = shutdown.run_until_cancelled(starting).await.transpose();
            let Some(started) = started.inspect_err(|_| progress.clear_spinner())? else {
                progress.clear_spinner();
                return Ok(None);
            };
            servers = Some(started.0);
            loaded = started.1;
            progress.show_activity("opening the index");
        }
        let connecting =
            connect_and_watch(role, &settings, &libraries, data_dir.as_deref(), loaded);
        let connected = shutdown.run_until_cancelled(connecting).await.transpose();
        progress.clear_spinner();
        if let Ok(Some((connected, _))) = &connected
            && let Some(reason) = &connected.model_reason
        {
            match role {
                AppRole::All => progress.print_line(reason),
                _ => tracing::info!("{reason}"),
            }
        }
        match connected {
            Ok(Some((connected, watcher))) => Ok(Some(Self {
                role,
                settings,
                libraries,
                data_dir,
                listener,
                connected,
                watcher,
                servers,
                owns_milvus,
            })),
            not_connected => {
                if let Some(servers) = servers {
                    servers.stop().await;
                }
                not_connected.map(|_| None)
            }
        }
    }
}

/// Chooses the model of a new index before anything is started, and tells the user why.
async fn choose_model(settings: &Settings, progress: &UpProgress) -> Result<RequestedModel> {
    let on_stage = |stage| progress.show_stage(stage);
    let chosen = choose_default_model(settings, &on_stage).await;
    progress.clear_spinner();
    let ChosenModel { model, reason } = chosen?;
    if let Some(reason) = reason {
        progress.print_line(&reason);
    }
    Ok(model)
}

/// Starts the servers of `up`, and loads the model at the same time if it is known without the index.
/// Fills in the URLs of the servers.
async fn start_servers_and_model(
    settings: &mut Settings,
    data_dir: &Path,
    model: Option<RequestedModel>,
    progress: &UpProgress,
) -> Result<(Servers, Option<(RequestedModel, Arc<Engine>)>)> {
    let wanted = wanted_servers(settings);
    let load = async {
        match model {
            Some(model) => {
                let engine = model.start_engine(settings).await?;
                Ok(Some((model, engine)))
            }
            None => Ok(None),
        }
    };
    let (servers, loaded) =
        tokio::try_join!(start_servers(settings, data_dir, wanted, progress), load)?;
    if let Some(url) = servers.nats_url() {
        settings.nats.url = url.to_owned();
    }
    if let Some(url) = servers.milvus_url() {
        settings.milvus.url = url.to_owned();
    }
    Ok((servers, loaded))
}

/// Connects the roles, and starts the watcher if there is a data folder for it.
async fn connect_and_watch(
    role: AppRole,
    settings: &Settings,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    data_dir: Option<&Path>,
    loaded: Option<(RequestedModel, Arc<Engine>)>,
) -> Result<(RoleConnections, Option<Watcher>)> {
    let connected = connect_role(role, settings, loaded).await?;
    let watcher = match data_dir {
        Some(data_dir) => {
            let roots = libraries.clone().into_iter().collect();
            let watcher = Watcher::start(&settings.watch, roots, data_dir, &connected.bus)?;
            Some(watcher)
        }
        None => None,
    };
    Ok((connected, watcher))
}
