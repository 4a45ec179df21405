//! Runs a process from its settings to its end: build, spawn, wait, drain.

use anyhow::Result;
use lookalike_chassis::{shutdown, telemetry};
use lookalike_client::usage_error;

use super::build::App;
use super::progress::UpProgress;
use super::role::AppRole;
use crate::libraries::resolve_libraries;
use crate::settings::Settings;

/// Runs the roles until a signal arrives or one of them fails, and then stops them in order.
pub async fn run_app(role: AppRole, settings: Settings) -> Result<()> {
    let progress = UpProgress::new();
    start_logging(role, &settings, &progress)?;
    let libraries = resolve_libraries(&settings.libraries)?;
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
