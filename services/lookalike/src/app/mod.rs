//! `up`: the servers as children, and every role in this process.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookalike_bus::{Bus, StatusView};
use lookalike_chassis::{Backoff, leave, say, telemetry};
use lookalike_index::Index;
use lookalike_servers::{Programs, Servers, WantedServers};
use lookalike_vision::Engine;
use lookalike_watcher::Watcher;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::libraries;
use crate::model::{self, RequestedModel};
use crate::progress::UpProgress;
use crate::roles::{self, failed_chain};
use crate::settings::Settings;

/// Where a running `up` is, for the other commands: `up.json` in its data folder.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunningInstance {
    /// Its process.
    pub pid: u32,
    /// Address of the page and the API.
    pub url: String,
    /// Its NATS server.
    pub nats_url: String,
    /// Its Milvus.
    pub milvus_url: String,
}

impl RunningInstance {
    /// The file's name.
    pub const FILE_NAME: &'static str = "up.json";

    /// What the data folder's file says, if there is one and whoever wrote it is alive: as long
    /// as it is, it holds the folder's lock.
    pub fn find_live(data_dir: &Path) -> Option<Self> {
        let lock = std::fs::File::open(data_dir.join(lookalike_servers::LOCK_FILE)).ok()?;
        if lock.try_lock_shared().is_ok() {
            return None;
        }
        serde_json::from_slice(&std::fs::read(data_dir.join(Self::FILE_NAME)).ok()?).ok()
    }

    fn write_to(&self, data_dir: &Path) -> std::io::Result<()> {
        let temporary = data_dir.join(format!("{}.new", Self::FILE_NAME));
        // The servers' addresses may hold passwords.
        let mut file = std::fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(temporary, data_dir.join(Self::FILE_NAME))
    }
}

/// Starts everything, works until told to leave, stops everything that it started.
///
/// # Errors
/// What kept it from starting, or made it end.
pub async fn run_up(settings: Settings) -> Result<(), Failure> {
    let libraries = libraries::resolve_libraries(&settings)?;
    let progress = UpProgress::new();
    let lines = progress.log_output();
    telemetry::start_logging(&settings.log, move || lines.line_writer()).map_err(Failure::usage)?;
    let leave = leave::cancel_on_signal().map_err(Failure::failed)?;
    let data_dir = settings.data_dir()?;
    let listening = lookalike_search::bind_address(&settings.http.listen)
        .await
        .map_err(Failure::usage)?;
    // Fails on a wrong model before anything is fetched or started. Without a name it is that of
    // the index in service, which is known when Milvus runs.
    let named = model::configured_model(&settings).await?;
    if let Some(named) = &named {
        named.load_description()?;
    }

    let wanted = WantedServers {
        nats: settings.nats.url.is_empty(),
        milvus: settings.milvus.url.is_empty(),
    };
    let starting = start_servers(&settings, &data_dir, wanted, &progress);
    let started = tokio::select! {
        started = async { tokio::try_join!(starting, start_named_engine(&settings, named.as_ref())) } => started,
        () = leave.cancelled() => {
            progress.clear_spinner();
            return Ok(());
        }
    };
    let (mut servers, engine) = started.inspect_err(|_| progress.clear_spinner())?;

    let mut settings = settings;
    if let Some(url) = servers.nats_url() {
        settings.nats.url = url.to_owned();
    }
    if let Some(url) = servers.milvus_url() {
        settings.milvus.url = url.to_owned();
    }
    progress.show_activity("opening the index");
    let connected = tokio::select! {
        connected = connect_and_open(&settings, named.zip(engine)) => connected,
        () = leave.cancelled() => {
            progress.clear_spinner();
            servers.stop().await;
            return Ok(());
        }
    };
    progress.clear_spinner();
    let (bus, index, engine) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            servers.stop().await;
            return Err(failure);
        }
    };

    let roots = libraries.clone().into_iter().collect();
    let watcher = match Watcher::start(&settings.watch, roots, &data_dir, &bus) {
        Ok(watcher) => watcher,
        Err(error) => {
            servers.stop().await;
            return Err(failed_chain(error));
        }
    };
    let description = engine.description().clone();
    let device = engine.device_line();
    let collections = index.collections();
    let embedder = roles::embedder_context(
        &settings,
        libraries.clone(),
        bus.clone(),
        index.clone(),
        engine,
    );
    let instance = embedder.instance.clone();
    // The service goes first and the embedder last: nobody is left without an answer.
    let (stop_serving, stop_embedding) = (CancellationToken::new(), CancellationToken::new());
    let service = roles::search_context(
        &settings,
        libraries.clone(),
        bus.clone(),
        index.clone(),
        description,
        &stop_serving,
    );
    let url = format!("http://{}", listening.address());
    let mut embedding = tokio::spawn(lookalike_embedder::run_embedder(
        embedder,
        model::model_loader(&settings),
        stop_embedding.clone(),
    ));
    let mut serving = tokio::spawn(lookalike_search::serve_api(
        listening,
        service,
        stop_serving.clone(),
    ));

    let running = RunningInstance {
        pid: std::process::id(),
        url: url.clone(),
        nats_url: settings.nats.url.clone(),
        milvus_url: settings.milvus.url.clone(),
    };
    if let Err(error) = running.write_to(&data_dir) {
        tracing::warn!(%error, "other commands won't find this lookalike by its data folder");
    }
    say::print_line(&format!("page     {url}/"));
    say::print_line(&format!("API      {url}/docs"));
    for (name, root) in &libraries {
        say::print_line(&format!("library  {name} ({})", root.display()));
    }
    say::print_line(&format!("data     {}", data_dir.display()));
    say::print_line(&format!("model    {device}"));

    let outcome = tokio::select! {
        () = leave.cancelled() => Ok(()),
        () = supervise_servers(&mut servers) => Ok(()),
        () = show_indexing(&progress, &watcher) => Ok(()),
        () = announce_model_changes(&progress, bus.watch_status(leave.clone()), &instance, device) => Ok(()),
        () = watcher.wait_for_failure() => Err(Failure::failed(roles::WATCHER_FAILED)),
        ended = &mut embedding => Err(match ended {
            Ok(Err(error)) => failed_chain(error),
            Ok(Ok(())) => Failure::failed("the embedder ended by itself"),
            Err(error) => Failure::failed(format!("the embedder ended badly: {error}")),
        }),
        ended = &mut serving => Err(match ended {
            Ok(Err(error)) => failed_chain(error),
            Ok(Ok(())) => Failure::failed("the service ended by itself"),
            Err(error) => Failure::failed(format!("the service ended badly: {error}")),
        }),
    };

    progress.print_line("stopping: finishing what is under way (Ctrl-C again stops at once)");
    let begun = Instant::now();
    // Whatever hangs, the last step is reached: nothing is lost by what is cut off.
    let within = |most: Duration| DRAIN_TIMEOUT.saturating_sub(begun.elapsed()).min(most);
    stop_serving.cancel();
    stop_embedding.cancel();
    if !serving.is_finished() {
        let _ = tokio::time::timeout(within(Duration::from_secs(4)), serving).await;
    }
    let mut is_drained = embedding.is_finished();
    if !is_drained {
        is_drained = tokio::time::timeout(within(DRAIN_TIMEOUT), embedding)
            .await
            .is_ok();
    }
    // The outcomes of what the embedder just finished are read at the next start. A watcher limits
    // its own leaving.
    watcher.stop().await;
    if wanted.milvus && is_drained {
        // Its log has everything; this only makes the next start of Milvus quicker.
        match tokio::time::timeout(
            within(Duration::from_secs(6)),
            collections.flush_in_service(),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the index was not flushed"),
            Err(_) => tracing::info!("the index was not flushed in time"),
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), bus.close()).await;
    let _ = std::fs::remove_file(data_dir.join(RunningInstance::FILE_NAME));
    servers.stop().await;
    progress.print_line(&format!(
        "stopped after {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    outcome
}

async fn start_servers(
    settings: &Settings,
    data_dir: &Path,
    wanted: WantedServers,
    progress: &UpProgress,
) -> Result<Servers, Failure> {
    let tell = |stage| progress.show_stage(stage);
    let programs = if wanted.nats || wanted.milvus {
        lookalike_servers::fetch_programs(&settings.servers, settings.offline, wanted, &tell)
            .await
            .map_err(failed_chain)?
    } else {
        Programs::default()
    };
    Servers::start(&settings.servers, &programs, data_dir, wanted, &tell)
        .await
        .map_err(failed_chain)
}

/// The engine of a model that was named.
async fn start_named_engine(
    settings: &Settings,
    named: Option<&RequestedModel>,
) -> Result<Option<Arc<Engine>>, Failure> {
    match named {
        Some(named) => named.start_engine(settings).await.map(Some),
        None => Ok(None),
    }
}

/// Connects, and loads the model of the index in service unless one was named.
async fn connect_and_open(
    settings: &Settings,
    loaded: Option<(RequestedModel, Arc<Engine>)>,
) -> Result<(Bus, Index, Arc<Engine>), Failure> {
    let opened = async {
        let (named, engine) = match loaded {
            Some((named, engine)) => {
                model::reconcile_with_named_model(settings, &named, engine.description()).await?;
                (named, engine)
            }
            None => {
                let named = model::resolve_model(settings).await?;
                let engine = named.start_engine(settings).await?;
                (named, engine)
            }
        };
        model::replace_outdated_collection(settings, &named, engine.description()).await?;
        let description = engine.description();
        let origin = named.to_model_source(description)?;
        let index = roles::open_index(settings, description, &origin).await?;
        model::record_model_source(&index.collections(), &index.collection(), &origin).await;
        Ok((index, engine))
    };
    let (bus, (index, engine)) = tokio::try_join!(roles::connect_bus(settings, "up"), opened)?;
    Ok((bus, index, engine))
}

/// Says so whenever the embedder has gone over to another model.
async fn announce_model_changes(
    progress: &UpProgress,
    status: StatusView,
    instance: &str,
    mut device: String,
) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = status.embedders();
        let own = told.into_iter().find(|one| one.instance == instance);
        if let Some(own) = own.filter(|own| own.device != device) {
            progress.print_line(&format!("model    {}", own.device));
            device = own.device;
        }
    }
}

/// How long leaving may take until only the servers are left to be stopped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(21);

/// Looks in a row at which Milvus is not well, until it is started again: a busy one may miss some.
const MAX_UNHEALTHY_CHECKS: u32 = 6;

/// How often a server that runs is asked whether it can do its work.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Starts servers again that ended by themselves, or that take nothing any more. Everything else
/// waits for them meanwhile.
async fn supervise_servers(servers: &mut Servers) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let mut last = Instant::now();
    let mut unwell = 0;
    loop {
        let exited = tokio::select! {
            exited = servers.next_exit() => Some(exited),
            () = tokio::time::sleep(HEALTH_CHECK_INTERVAL) => None,
        };
        let program = match exited {
            Some(exited) => {
                tracing::error!(
                    program = %exited.program,
                    status = %exited.status,
                    log = %exited.log_path.display(),
                    "a server ended by itself, starting it again"
                );
                exited.program
            }
            None => {
                if let Some(reason) = servers.nats_stuck_reason().await {
                    tracing::error!(
                        reason,
                        "nats-server takes nothing any more, starting it again"
                    );
                    lookalike_servers::Program::Nats
                } else if let Some(reason) = servers.milvus_unhealthy_reason().await {
                    unwell += 1;
                    if unwell < MAX_UNHEALTHY_CHECKS {
                        tracing::warn!(reason, "Milvus is not well");
                        continue;
                    }
                    tracing::error!(reason, "Milvus does not get well, starting it again");
                    lookalike_servers::Program::Milvus
                } else {
                    unwell = 0;
                    continue;
                }
            }
        };
        unwell = 0;
        if last.elapsed() > Duration::from_secs(60) {
            backoff.reset_attempts();
        }
        last = Instant::now();
        loop {
            tokio::time::sleep(backoff.next_delay()).await;
            let restarted = match program {
                lookalike_servers::Program::Nats => servers.restart_nats().await,
                lookalike_servers::Program::Milvus => servers.restart_milvus().await,
            };
            match restarted {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, "it does not start"),
            }
        }
    }
}

/// Shows how indexing goes: a bar whenever more than a few files wait.
async fn show_indexing(progress: &UpProgress, watcher: &Watcher) {
    let mut status = watcher.subscribe_status();
    let mut bar = Some(progress.start_indexing_bar());
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        let libraries = status.borrow_and_update().clone();
        if libraries.is_empty() {
            continue;
        }
        match &mut bar {
            Some(indexing) => {
                if indexing.update_counts(&libraries) {
                    let line = bar
                        .take()
                        .map(|bar| bar.finish_with_summary(&libraries))
                        .unwrap_or_default();
                    progress.print_line(&line);
                }
            }
            None => {
                let waiting: u64 = libraries.iter().map(|l| l.counts.in_flight).sum();
                if waiting > 8 {
                    bar = Some(progress.start_indexing_bar());
                }
            }
        }
    }
}
