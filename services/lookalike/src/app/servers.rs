//! Starts the servers of `up`, and restarts them when they exit or become unhealthy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use lookalike_chassis::Backoff;
use lookalike_servers::{Program, Programs, Servers, WantedServers};

use super::progress::UpProgress;
use crate::settings::Settings;

const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Milvus is restarted after this many consecutive failed checks; a busy one may fail some.
const MAX_UNHEALTHY_CHECKS: u32 = 6;
/// A server that ran this long before it failed is restarted without backoff.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The servers that the settings do not locate elsewhere.
pub(super) fn wanted_servers(settings: &Settings) -> WantedServers {
    WantedServers {
        nats: settings.nats.url.is_empty(),
        milvus: settings.milvus.url.is_empty(),
    }
}

/// Fetches the missing programs, and starts the wanted servers.
pub(super) async fn start_servers(
    settings: &Settings,
    data_dir: &Path,
    wanted: WantedServers,
    progress: &UpProgress,
) -> Result<Servers> {
    let on_stage = |stage| progress.show_stage(stage);
    let programs = if wanted.nats || wanted.milvus {
        lookalike_servers::fetch_programs(&settings.servers, settings.offline, wanted, &on_stage)
            .await?
    } else {
        Programs::default()
    };
    Ok(Servers::start(&settings.servers, &programs, data_dir, wanted, &on_stage).await?)
}

/// Restarts servers, forever. The roles wait for them meanwhile.
pub(super) async fn supervise_servers(servers: &mut Servers) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let mut failed_at = Instant::now();
    loop {
        let program = wait_for_failure(servers).await;
        if failed_at.elapsed() > STABLE_AFTER {
            backoff.reset_attempts();
        }
        failed_at = Instant::now();
        loop {
            tokio::time::sleep(backoff.next_delay()).await;
            let restarted = match program {
                Program::Nats => servers.restart_nats().await,
                Program::Milvus => servers.restart_milvus().await,
            };
            match restarted {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, %program, "cannot restart the server"),
            }
        }
    }
}

/// Waits until a server has exited or must be restarted.
async fn wait_for_failure(servers: &mut Servers) -> Program {
    let mut unhealthy_checks = 0;
    loop {
        tokio::select! {
            exited = servers.next_exit() => {
                tracing::error!(
                    program = %exited.program,
                    status = %exited.status,
                    log = %exited.log_path.display(),
                    "a server exited unexpectedly, restarting it"
                );
                return exited.program;
            }
            () = tokio::time::sleep(HEALTH_CHECK_INTERVAL) => {}
        }
        if let Some(reason) = servers.nats_stuck_reason().await {
            tracing::error!(reason, "nats-server rejects all writes, restarting it");
            return Program::Nats;
        }
        let Some(reason) = servers.milvus_unhealthy_reason().await else {
            unhealthy_checks = 0;
            continue;
        };
        unhealthy_checks += 1;
        if unhealthy_checks >= MAX_UNHEALTHY_CHECKS {
            tracing::error!(reason, "Milvus does not recover, restarting it");
            return Program::Milvus;
        }
        tracing::warn!(reason, "Milvus is unhealthy");
    }
}
