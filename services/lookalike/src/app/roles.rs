//! The roles, each of the same pieces whether it runs alone or within `up`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::Bus;
use lookalike_chassis::{leave, telemetry};
use lookalike_index::{Index, ModelSource};
use lookalike_proto::LibraryName;
use lookalike_vision::{Description, Engine, Limits};
use lookalike_watcher::Watcher;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::libraries;
use crate::model::{self, model_identity};
use crate::settings::Settings;

/// An error and all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}

/// Wrong use or settings, with all causes.
pub fn usage_chain(error: impl std::error::Error) -> Failure {
    Failure::usage(chain(&error))
}

/// It failed, with all causes.
pub fn failed_chain(error: impl std::error::Error) -> Failure {
    Failure::failed(chain(&error))
}

/// Connects to NATS.
///
/// # Errors
/// When it does not answer.
pub async fn connect_bus(settings: &Settings, role: &str) -> Result<Bus, Failure> {
    Bus::connect(&settings.nats, role)
        .await
        .map_err(failed_chain)
}

/// Connects to NATS for a command that asks the roles, and changes nothing there.
///
/// # Errors
/// When it does not answer.
pub async fn open_bus(settings: &Settings, command: &str) -> Result<Bus, Failure> {
    Bus::open(&settings.nats, command)
        .await
        .map_err(failed_chain)
}

/// Opens the index for a model.
///
/// # Errors
/// When Milvus does not answer, or the index is another model's.
pub async fn open_index(
    settings: &Settings,
    description: &Description,
    origin: &ModelSource,
) -> Result<Index, Failure> {
    let opened =
        Index::open_with_source(&settings.milvus, &model_identity(description), origin).await;
    opened.map_err(|error| match error.class() {
        lookalike_index::ErrorClass::Fatal => usage_chain(error),
        _ => failed_chain(error),
    })
}

/// What the embedder is made of.
pub fn embedder_context(
    settings: &Settings,
    libraries: BTreeMap<LibraryName, PathBuf>,
    bus: Bus,
    index: Index,
    engine: Arc<Engine>,
) -> lookalike_embedder::Context {
    // Distinct among the embedders of one installation, whatever machines they run on.
    let nanos = lookalike_chassis::clock::now_nanos();
    let instance = format!("{:x}-{:x}", std::process::id(), nanos & 0xffff_ffff);
    lookalike_embedder::Context {
        settings: settings.embed.clone(),
        libraries,
        bus,
        ack_wait: settings.nats.ack_wait,
        index,
        engine,
        limits: Limits::from(&settings.vision),
        decode_threads: settings.vision.decode_threads(),
        audit: settings.audit.clone(),
        has_supervisor: false,
        instance,
    }
}

/// What the service is made of.
pub fn search_context(
    settings: &Settings,
    libraries: BTreeMap<LibraryName, PathBuf>,
    bus: Bus,
    index: Index,
    description: Description,
    leave: &CancellationToken,
) -> lookalike_search::Context {
    let status = bus.watch_status(leave.clone());
    lookalike_search::Context {
        bus,
        index,
        description,
        limits: Limits::from(&settings.vision),
        libraries,
        status,
        settings: settings.http.clone(),
    }
}

fn start_logging(settings: &Settings) -> Result<(), Failure> {
    telemetry::start_logging(&settings.log, std::io::stderr).map_err(Failure::usage)
}

/// Tells probes whether NATS answers a lone watcher or embedder.
async fn ping_nats(bus: Bus) -> Result<(), String> {
    bus.check_jetstream()
        .await
        .map_err(|error| error.to_string())
}

/// Why a role ends whose watcher did.
pub const WATCHER_FAILED: &str = "the watcher's thread ended badly (its last words are in the log); \
    start again: everything is compared then, and nothing is lost";

/// The watcher alone.
///
/// # Errors
/// What kept it from starting.
pub async fn run_watcher(settings: Settings) -> Result<(), Failure> {
    start_logging(&settings)?;
    let libraries = libraries::resolve_libraries(&settings)?;
    let leave = leave::cancel_on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind_address(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = connect_bus(&settings, "watcher");
    let Some(bus) = leave.run_until_cancelled(starting).await.transpose()? else {
        return Ok(());
    };
    let data_dir = settings.data_dir()?;
    let roots = libraries.into_iter().collect();
    let watcher = Watcher::start(&settings.watch, roots, &data_dir, &bus).map_err(failed_chain)?;
    tracing::info!(metrics = %listening.address(), "watching");
    let probed = bus.clone();
    let serving = lookalike_search::serve_metrics_only(
        listening,
        move || ping_nats(probed.clone()),
        leave.clone(),
    );
    let ended = tokio::select! {
        served = serving => served.map_err(failed_chain),
        () = watcher.wait_for_failure() => Err(Failure::failed(WATCHER_FAILED)),
    };
    watcher.stop().await;
    bus.close().await;
    ended
}

/// An embedder alone.
///
/// # Errors
/// What kept it from starting, or made it end.
pub async fn run_embedder(settings: Settings) -> Result<(), Failure> {
    start_logging(&settings)?;
    let libraries = libraries::resolve_libraries(&settings)?;
    let leave = leave::cancel_on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind_address(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = async {
        let named = model::resolve_model(&settings).await?;
        let engine = named.start_engine(&settings).await?;
        let bus = connect_bus(&settings, "embedder").await?;
        let origin = named.to_model_source(engine.description())?;
        let index = open_index(&settings, engine.description(), &origin).await?;
        Ok::<_, Failure>((engine, bus, index))
    };
    let started = leave.run_until_cancelled(starting).await.transpose()?;
    let Some((engine, bus, index)) = started else {
        return Ok(());
    };
    let mut context = embedder_context(&settings, libraries, bus.clone(), index, engine);
    // Whoever runs a role alone has something that starts it anew.
    context.has_supervisor = true;
    tracing::info!(metrics = %listening.address(), "taking events");
    let ended = CancellationToken::new();
    let metrics = tokio::spawn(lookalike_search::serve_metrics_only(
        listening,
        move || ping_nats(bus.clone()),
        ended.clone(),
    ));
    let result = lookalike_embedder::run_embedder(context, model::model_loader(&settings), leave)
        .await
        .map_err(failed_chain);
    ended.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(2), metrics).await;
    result
}

/// The API and the page alone.
///
/// # Errors
/// What kept it from starting.
pub async fn run_service(settings: Settings) -> Result<(), Failure> {
    start_logging(&settings)?;
    let libraries = libraries::resolve_libraries(&settings)?;
    let leave = leave::cancel_on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind_address(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = async {
        let (description, origin) = model::resolve_description(&settings).await?;
        let bus = connect_bus(&settings, "search").await?;
        let index = open_index(&settings, &description, &origin).await?;
        Ok::<_, Failure>((description, bus, index))
    };
    let started = leave.run_until_cancelled(starting).await.transpose()?;
    let Some((description, bus, index)) = started else {
        return Ok(());
    };
    let context = search_context(&settings, libraries, bus, index, description, &leave);
    tracing::info!(address = %listening.address(), "answering searches");
    lookalike_search::serve_api(listening, context, leave)
        .await
        .map_err(failed_chain)
}
