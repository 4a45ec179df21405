//! `doctor`: checks this machine and this installation, and names a remedy for each problem.
//!
//! Each check does what lookalike will do: it binds the port, writes a file, opens the folders, runs
//! the programs, sends a request to the servers. It changes nothing that stays. Each check has a time
//! limit, so that a mount or a server that hangs becomes a finding.

mod changes;
mod finding;
mod folders;
mod inotify;
mod installation;
mod model;
mod ports;
mod processes;
mod programs;
mod servers;
mod storage;
mod system;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lookalike_chassis::stdio;
use lookalike_client::terminal;

use crate::cli::DoctorArgs;
use crate::settings::Settings;
use finding::{Finding, FindingStatus, format_findings, to_json};
use installation::Installation;

/// Runs all checks and prints their findings.
///
/// # Errors
/// If a check failed.
pub async fn run_doctor(settings: &Settings, args: &DoctorArgs) -> Result<()> {
    let started_at = Instant::now();
    let installation = Arc::new(Installation::locate(settings, args.timeout).await);
    let findings = run_checks(&installation).await;
    let count = |status| findings.iter().filter(|f| f.status == status).count();
    let (failures, warnings) = (count(FindingStatus::Failure), count(FindingStatus::Warning));
    if args.json {
        terminal::write_json(&to_json(&findings, started_at.elapsed()))?;
    } else {
        stdio::write_text(&format_findings(&findings))?;
    }
    match (failures, warnings) {
        (0, _) => Ok(()),
        (1, _) => bail!("1 check failed"),
        (failures, _) => bail!("{failures} checks failed"),
    }
}

/// Runs the checks at the same time. Their findings are in the order in which a start needs what they
/// check.
async fn run_checks(installation: &Arc<Installation>) -> Vec<Finding> {
    let limit = installation.limit;
    let block = |check: &'static str, run: fn(&Installation) -> Vec<Finding>| {
        let installation = Arc::clone(installation);
        async move {
            let task = tokio::task::spawn_blocking(move || run(&installation));
            match tokio::time::timeout(limit, task).await {
                Ok(Ok(findings)) => findings,
                Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                Err(_) => vec![exceeded(check, limit)],
            }
        }
    };
    let surveys = folders::survey_libraries(installation);
    let (programs, data, changes, descriptors, clock, ports, device, model, surveys, servers) = tokio::join!(
        block("programs", programs::check_programs),
        block("storage", storage::check_storage),
        block("uploads", changes::check_changes),
        block("descriptors", system::check_descriptors),
        block("clock", system::check_clock),
        block("ports", ports::check_ports),
        block("device", model::check_device),
        block("model", model::check_model),
        surveys,
        servers::check_servers(installation),
    );
    let inotify = {
        let folders = surveys.iter().map(|survey| survey.folders).sum();
        let installation = Arc::clone(installation);
        let task =
            tokio::task::spawn_blocking(move || inotify::check_inotify(&installation, folders));
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            Err(_) => vec![exceeded("inotify", limit)],
        }
    };
    let mut findings = vec![Finding::ok(
        "lookalike",
        format!("version {}", env!("CARGO_PKG_VERSION")),
    )];
    findings.extend(programs);
    findings.extend(data);
    findings.extend(descriptors);
    findings.extend(clock);
    findings.extend(ports);
    findings.extend(device);
    findings.extend(model);
    findings.extend(folders::judge_surveys(installation, &surveys));
    findings.extend(changes);
    findings.extend(inotify);
    findings.extend(servers);
    findings
}

fn exceeded(check: &'static str, limit: Duration) -> Finding {
    Finding::failure(
        check,
        format!("the check did not end within {limit:?}"),
        "lookalike doctor --timeout 60s",
    )
}
