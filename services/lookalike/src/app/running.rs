//! Spawns the roles of an [`App`], and waits for a reason to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use lookalike_bus::Bus;
use lookalike_client::RunningInstance;
use lookalike_index::Collections;
use lookalike_proto::LibraryName;
use lookalike_search::BoundListener;
use lookalike_servers::Servers;
use lookalike_watcher::Watcher;
use tokio_util::sync::CancellationToken;

use super::announce::{announce_addresses, announce_model_changes, show_indexing};
use super::build::App;
use super::connected::RoleConnections;
use super::contexts::{embedder_context, search_context};
use super::progress::UpProgress;
use super::role::AppRole;
use super::role_task::RoleTask;
use super::servers::supervise_servers;
use crate::model::model_loader;
use crate::settings::Settings;

pub(super) struct RunningApp {
    pub(super) role: AppRole,
    pub(super) bus: Bus,
    pub(super) watcher: Option<Watcher>,
    pub(super) embedder: Option<RoleTask>,
    /// The API and the page, or only metrics and health checks.
    pub(super) http: RoleTask,
    pub(super) servers: Option<Servers>,
    pub(super) data_dir: Option<PathBuf>,
    /// To flush at the end, if Milvus is a child of this process.
    pub(super) collections_to_flush: Option<Collections>,
    address: SocketAddr,
    addresses: RunningInstance,
    libraries: BTreeMap<LibraryName, PathBuf>,
    own_embedder: Option<OwnEmbedder>,
}

/// The embedder of this process, as it appears among the reported ones.
struct OwnEmbedder {
    instance: String,
    /// The model and its device at the start.
    device: String,
}

impl App {
    pub(super) fn spawn(self) -> RunningApp {
        let Self {
            role,
            settings,
            libraries,
            data_dir,
            listener,
            connected,
            watcher,
            servers,
            owns_milvus,
        } = self;
        let address = listener.address();
        let addresses = RunningInstance {
            pid: std::process::id(),
            url: format!("http://{address}"),
            nats_url: settings.nats.url.clone(),
            milvus_url: settings.milvus.url.clone(),
        };
        let (embedder, own_embedder) =
            spawn_embedder(role, &settings, &libraries, &connected).unzip();
        let http = spawn_http(role, &settings, &libraries, &connected, listener);
        let collections = connected.index.map(|index| index.collections());
        RunningApp {
            role,
            bus: connected.bus,
            watcher,
            embedder,
            http,
            servers,
            data_dir,
            collections_to_flush: collections.filter(|_| owns_milvus),
            address,
            addresses,
            libraries,
            own_embedder,
        }
    }
}

fn spawn_embedder(
    role: AppRole,
    settings: &Settings,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    connected: &RoleConnections,
) -> Option<(RoleTask, OwnEmbedder)> {
    let engine = connected.engine.clone()?;
    let index = connected.index.clone()?;
    let (libraries, bus) = (libraries.clone(), connected.bus.clone());
    let device = engine.describe_device();
    let context = embedder_context(role, settings, libraries, bus, index, engine);
    let instance = context.instance.clone();
    let stop = CancellationToken::new();
    let run = lookalike_embedder::run_embedder(context, model_loader(settings), stop.clone());
    let task = RoleTask::spawn("embedder", stop, run);
    Some((task, OwnEmbedder { instance, device }))
}

/// Spawns the API and the page, or for a lone watcher or embedder, metrics and health checks.
fn spawn_http(
    role: AppRole,
    settings: &Settings,
    libraries: &BTreeMap<LibraryName, PathBuf>,
    connected: &RoleConnections,
    listener: BoundListener,
) -> RoleTask {
    let stop = CancellationToken::new();
    let bus = connected.bus.clone();
    match (&connected.index, &connected.description) {
        (Some(index), Some(description)) if role.has_service() => {
            let status = bus.watch_status(stop.clone());
            let (libraries, index) = (libraries.clone(), index.clone());
            let description = description.clone();
            let context = search_context(settings, libraries, bus, index, description, status);
            let serve = lookalike_search::serve_api(listener, context, stop.clone());
            RoleTask::spawn("service", stop, serve)
        }
        _ => {
            let ping = move || ping_nats(bus.clone());
            let serve = lookalike_search::serve_metrics_only(listener, ping, stop.clone());
            RoleTask::spawn("metrics endpoint", stop, serve)
        }
    }
}

impl RunningApp {
    /// Announces where the roles are reachable: `up` to its user and to other commands, a lone role
    /// in its log.
    pub(super) fn announce(&self) {
        let address = self.address;
        match (self.role, &self.data_dir) {
            (AppRole::All, Some(data_dir)) => {
                let device = self.own_embedder.as_ref().map(|own| &*own.device);
                announce_addresses(
                    &self.addresses,
                    data_dir,
                    &self.libraries,
                    device.unwrap_or_default(),
                );
            }
            (AppRole::All | AppRole::Watcher, _) => tracing::info!(metrics = %address, "watching"),
            (AppRole::Embedder, _) => tracing::info!(metrics = %address, "taking events"),
            (AppRole::Service, _) => tracing::info!(%address, "serving searches"),
        }
    }

    /// Runs until `shutdown` is cancelled.
    ///
    /// # Errors
    /// If a role ends before.
    pub(super) async fn run_until(
        &mut self,
        shutdown: &CancellationToken,
        progress: &UpProgress,
    ) -> Result<()> {
        let Self {
            role,
            bus,
            watcher,
            embedder,
            http,
            servers,
            own_embedder,
            ..
        } = self;
        let is_up = *role == AppRole::All;
        let supervise = or_pending(servers.as_mut().map(supervise_servers));
        let watcher_failure = or_pending(watcher.as_ref().map(Watcher::wait_for_failure));
        let embedder_exit = or_pending(embedder.as_mut().map(RoleTask::unexpected_exit));
        let shown_watcher = watcher.as_ref().filter(|_| is_up);
        let show = or_pending(shown_watcher.map(|watcher| show_indexing(progress, watcher)));
        let announced = own_embedder.as_ref().filter(|_| is_up);
        let announce = or_pending(announced.map(|own| {
            let status = bus.watch_status(shutdown.clone());
            announce_model_changes(progress, status, &own.instance, own.device.clone())
        }));
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = supervise => Ok(()),
            () = show => Ok(()),
            () = announce => Ok(()),
            () = watcher_failure => Err(anyhow!(
                "the watcher's thread crashed (the log has the reason); start again: it then \
                 compares everything, and nothing is lost"
            )),
            error = embedder_exit => Err(error),
            error = http.unexpected_exit() => Err(error),
        }
    }
}

/// Runs a future, or waits forever if there is none.
async fn or_pending<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The health check of a watcher or embedder that runs alone.
async fn ping_nats(bus: Bus) -> Result<(), String> {
    bus.check_jetstream()
        .await
        .map_err(|error| error.to_string())
}
