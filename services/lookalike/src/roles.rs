//! The roles, each of the same pieces whether it runs alone or within `up`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::Bus;
use lookalike_chassis::{leave, telemetry};
use lookalike_index::{Index, Origin};
use lookalike_proto::Library;
use lookalike_vision::{Description, Engine, Limits};
use lookalike_watcher::Watcher;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::libraries;
use crate::model::{self, identity};
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
pub async fn bus(settings: &Settings, role: &str) -> Result<Bus, Failure> {
    Bus::connect(&settings.nats, role)
        .await
        .map_err(failed_chain)
}

/// Connects to NATS for a command that asks the roles, and changes nothing there.
///
/// # Errors
/// When it does not answer.
pub async fn asking_bus(settings: &Settings, command: &str) -> Result<Bus, Failure> {
    Bus::open(&settings.nats, command)
        .await
        .map_err(failed_chain)
}

/// Opens the index for a model.
///
/// # Errors
/// When Milvus does not answer, or the index is another model's.
pub async fn index(
    settings: &Settings,
    description: &Description,
    origin: &Origin,
) -> Result<Index, Failure> {
    let opened = Index::open_with(&settings.milvus, &identity(description), origin).await;
    opened.map_err(|error| match error.fate() {
        lookalike_index::Fate::Fatal => usage_chain(error),
        _ => failed_chain(error),
    })
}

/// What the embedder is made of.
pub fn embedder(
    settings: &Settings,
    libraries: BTreeMap<Library, PathBuf>,
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
        is_restarted: false,
        instance,
    }
}

/// What the service is made of.
pub fn service(
    settings: &Settings,
    libraries: BTreeMap<Library, PathBuf>,
    bus: Bus,
    index: Index,
    description: Description,
    leave: &CancellationToken,
) -> lookalike_search::Context {
    let status = bus.follow_status(leave.clone());
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

fn logs(settings: &Settings) -> Result<(), Failure> {
    telemetry::start(&settings.log, std::io::stderr).map_err(Failure::usage)
}

/// Tells probes whether NATS answers a lone watcher or embedder.
async fn nats_answers(bus: Bus) -> Result<(), String> {
    bus.ping().await.map_err(|error| error.to_string())
}

/// Why a role ends whose watcher did.
pub const WATCHER_FAILED: &str = "the watcher's thread ended badly (its last words are in the log); \
    start again: everything is compared then, and nothing is lost";

/// The watcher alone.
///
/// # Errors
/// What kept it from starting.
pub async fn watch(settings: Settings) -> Result<(), Failure> {
    logs(&settings)?;
    let libraries = libraries::resolve(&settings)?;
    let leave = leave::on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = bus(&settings, "watcher");
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
        move || nats_answers(probed.clone()),
        leave.clone(),
    );
    let ended = tokio::select! {
        served = serving => served.map_err(failed_chain),
        () = watcher.failed() => Err(Failure::failed(WATCHER_FAILED)),
    };
    watcher.stop().await;
    bus.close().await;
    ended
}

/// An embedder alone.
///
/// # Errors
/// What kept it from starting, or made it end.
pub async fn embed(settings: Settings) -> Result<(), Failure> {
    logs(&settings)?;
    let libraries = libraries::resolve(&settings)?;
    let leave = leave::on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = async {
        let named = model::chosen(&settings).await?;
        let engine = named.engine(&settings).await?;
        let bus = bus(&settings, "embedder").await?;
        let origin = named.origin(engine.description())?;
        let index = index(&settings, engine.description(), &origin).await?;
        Ok::<_, Failure>((engine, bus, index))
    };
    let started = leave.run_until_cancelled(starting).await.transpose()?;
    let Some((engine, bus, index)) = started else {
        return Ok(());
    };
    let mut context = embedder(&settings, libraries, bus.clone(), index, engine);
    // Whoever runs a role alone has something that starts it anew.
    context.is_restarted = true;
    tracing::info!(metrics = %listening.address(), "taking events");
    let ended = CancellationToken::new();
    let metrics = tokio::spawn(lookalike_search::serve_metrics_only(
        listening,
        move || nats_answers(bus.clone()),
        ended.clone(),
    ));
    let result = lookalike_embedder::run(context, model::loader(&settings), leave)
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
pub async fn serve(settings: Settings) -> Result<(), Failure> {
    logs(&settings)?;
    let libraries = libraries::resolve(&settings)?;
    let leave = leave::on_signal().map_err(Failure::failed)?;
    let listening = lookalike_search::bind(&settings.http.listen)
        .await
        .map_err(usage_chain)?;
    let starting = async {
        let (description, origin) = model::description(&settings).await?;
        let bus = bus(&settings, "search").await?;
        let index = index(&settings, &description, &origin).await?;
        Ok::<_, Failure>((description, bus, index))
    };
    let started = leave.run_until_cancelled(starting).await.transpose()?;
    let Some((description, bus, index)) = started else {
        return Ok(());
    };
    let context = service(&settings, libraries, bus, index, description, &leave);
    tracing::info!(address = %listening.address(), "answering searches");
    lookalike_search::serve(listening, context, leave)
        .await
        .map_err(failed_chain)
}
