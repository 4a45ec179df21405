//! An [`App`] whose roles run: spawns them and waits for a reason to end.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use lookalike_bus::{Bus, StatusView};
use lookalike_client::RunningInstance;
use lookalike_index::Collections;
use lookalike_servers::Servers;
use lookalike_watcher::Watcher;
use tokio_util::sync::CancellationToken;

use super::announce::{announce_addresses, announce_model_changes, show_indexing};
use super::build::App;
use super::contexts::{embedder_context, search_context};
use super::progress::UpProgress;
use super::role::AppRole;
use super::role_task::RoleTask;
use super::servers::supervise_servers;
use crate::model::model_loader;

pub(super) struct RunningApp {
    pub(super) role: AppRole,
    pub(super) bus: Bus,
    pub(super) watcher: Option<Watcher>,
    pub(super) embedder: Option<RoleTask>,
    /// The API and the page, or only metrics and health checks.
    pub(super) http: RoleTask,
    pub(super) servers: Option<Servers>,
    pub(super) data_dir: PathBuf,
    /// To flush at the end, if Milvus is a child of this process.
    pub(super) collections_to_flush: Option<Collections>,
    model_announcement: Option<ModelAnnouncement>,
}

/// What is needed to notice that this process's embedder has rolled over.
struct ModelAnnouncement {
    status: StatusView,
    /// Stops the status view when dropped.
    _stop: tokio_util::sync::DropGuard,
    instance: String,
    device: String,
}

impl App {
    /// Spawns the roles and announces them.
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
        let bus = connected.bus.clone();
        let collections = connected.index.as_ref().map(|index| index.collections());
        let running = RunningInstance {
            pid: std::process::id(),
            url: format!("http://{}", listener.address()),
            nats_url: settings.nats.url.clone(),
            milvus_url: settings.milvus.url.clone(),
        };
        let stop_http = CancellationToken::new();
        let (embedder, announced) = match (connected.engine, &connected.index) {
            (Some(engine), Some(index)) => {
                let device = engine.device_line();
                let index = index.clone();
                let context = embedder_context(
                    role,
                    &settings,
                    libraries.clone(),
                    bus.clone(),
                    index,
                    engine,
                );
                let instance = context.instance.clone();
                let stop = CancellationToken::new();
                let load = model_loader(&settings);
                let run = lookalike_embedder::run_embedder(context, load, stop.clone());
                let task = RoleTask::spawn("embedder", stop, run);
                (Some(task), Some((instance, device)))
            }
            _ => (None, None),
        };
        let http = match (connected.index, connected.description) {
            (Some(index), Some(description)) if role.has_service() => {
                let status = bus.watch_status(stop_http.clone());
                let bus = bus.clone();
                let roots = libraries.clone();
                let context = search_context(&settings, roots, bus, index, description, status);
                let serve = lookalike_search::serve_api(listener, context, stop_http.clone());
                RoleTask::spawn("service", stop_http, serve)
            }
            _ => {
                let probed_bus = bus.clone();
                let ping = move || ping_nats(probed_bus.clone());
                let serve = lookalike_search::serve_metrics_only(listener, ping, stop_http.clone());
                RoleTask::spawn("metrics endpoint", stop_http, serve)
            }
        };
        let mut model_announcement = None;
        match role {
            AppRole::All => {
                if let Some((instance, device)) = announced {
                    announce_addresses(&running, &data_dir, &libraries, &device);
                    let stop = CancellationToken::new();
                    model_announcement = Some(ModelAnnouncement {
                        status: bus.watch_status(stop.clone()),
                        _stop: stop.drop_guard(),
                        instance,
                        device,
                    });
                }
            }
            AppRole::Watcher => tracing::info!(metrics = running.url, "watching"),
            AppRole::Embedder => tracing::info!(metrics = running.url, "embedding"),
            AppRole::Service => tracing::info!(url = running.url, "serving searches"),
        }
        RunningApp {
            role,
            bus,
            watcher,
            embedder,
            http,
            servers,
            data_dir,
            collections_to_flush: collections.filter(|_| owns_milvus),
            model_announcement,
        }
    }
}

impl RunningApp {
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
            watcher,
            embedder,
            http,
            servers,
            model_announcement,
            role,
            ..
        } = self;
        let supervise = async {
            match servers {
                Some(servers) => supervise_servers(servers).await,
                None => std::future::pending().await,
            }
        };
        let show = async {
            match (&*role, &*watcher) {
                (AppRole::All, Some(watcher)) => show_indexing(progress, watcher).await,
                _ => std::future::pending().await,
            }
        };
        let announce = async {
            match model_announcement {
                Some(ModelAnnouncement {
                    status,
                    instance,
                    device,
                    ..
                }) => announce_model_changes(progress, status, instance, device.clone()).await,
                None => std::future::pending().await,
            }
        };
        let watcher_failure = async {
            match &*watcher {
                Some(watcher) => watcher.wait_for_failure().await,
                None => std::future::pending().await,
            }
        };
        let embedder_exit = async {
            match embedder {
                Some(embedder) => embedder.unexpected_exit().await,
                None => std::future::pending().await,
            }
        };
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

/// The health check of a watcher or embedder that runs alone.
async fn ping_nats(bus: Bus) -> Result<(), String> {
    bus.check_jetstream()
        .await
        .map_err(|error| error.to_string())
}
