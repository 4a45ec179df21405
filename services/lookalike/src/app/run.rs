//! Runs a process from its settings to its end: build, spawn, wait, drain.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use lookalike_chassis::{shutdown, telemetry};
use lookalike_client::usage_error;
use lookalike_proto::LibraryName;
use lookalike_search::KeyFile;

use super::build::App;
use super::progress::UpProgress;
use super::role::AppRole;
use crate::libraries::{refuse_watched_folder, resolve_libraries};
use crate::settings::Settings;

/// Runs the roles until a signal arrives or one of them fails, and then stops them in order.
pub async fn run_app(role: AppRole, mut settings: Settings) -> Result<()> {
    let progress = UpProgress::new();
    start_logging(role, &settings, &progress)?;
    if role.has_service() {
        check_keys_file(&mut settings)?;
    }
    let libraries = resolve_roots(role, &settings)?;
    if role.has_service() {
        settings.prepare_uploads(&libraries)?;
    }
    if role.has_watcher() {
        refuse_watched_folder(&libraries, "--data-dir", &settings.data_dir()?)?;
        let models = settings.open_model_store()?;
        refuse_watched_folder(&libraries, "servers.cache_dir", models.folder())?;
    }
    let shutdown = shutdown::cancel_on_signal()?;
    let app = App::build(role, settings, libraries, &progress, &shutdown).await?;
    let Some(app) = app else {
        return Ok(());
    };
    let mut app = app.spawn();
    app.announce();
    let outcome = app.run_until(&shutdown, &progress).await;
    let drained = app.drain(&progress).await;
    outcome.and(drained)
}

/// Resolves the path of the key file. A damaged file fails here, before anything is started.
fn check_keys_file(settings: &mut Settings) -> Result<()> {
    let path = settings.keys_file()?;
    KeyFile::read(&path).map_err(|error| usage_error(anyhow::Error::new(error)))?;
    settings.http.keys_file = path.display().to_string();
    Ok(())
}

/// Returns the root folders. A watcher accepts a missing root only if it watched it before; other
/// roles have no list of roots, and a wrong path is the watcher's error.
fn resolve_roots(role: AppRole, settings: &Settings) -> Result<BTreeMap<LibraryName, PathBuf>> {
    if !role.has_watcher() {
        return resolve_libraries(&settings.library_folders(), &|_, _| true);
    }
    let data_dir = settings.data_dir()?;
    resolve_libraries(&settings.library_folders(), &|library, root| {
        lookalike_watcher::has_watched_root(&data_dir, library, root)
    })
}

/// Logs to standard error; log lines of `up` are written above its progress bars.
fn start_logging(role: AppRole, settings: &Settings, progress: &UpProgress) -> Result<()> {
    let started = match role {
        AppRole::All => {
            let output = progress.log_output();
            telemetry::start_logging(&settings.log, move || output.line_writer())
        }
        _ => telemetry::start_logging(&settings.log, std::io::stderr),
    };
    started.map_err(|error| usage_error(anyhow::anyhow!(error)))
}
