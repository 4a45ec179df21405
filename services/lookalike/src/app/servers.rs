//! Starts the servers of `up`, and restarts them when they exit or become unhealthy.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use lookalike_chassis::Backoff;
use lookalike_servers::{Program, Programs, ServerFailure, Servers, WantedServers};

use super::progress::UpProgress;
use crate::settings::Settings;

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
            match servers.restart(program).await {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, %program, "cannot restart the server"),
            }
        }
    }
}

/// Waits until a server must be restarted, and logs why.
async fn wait_for_failure(servers: &mut Servers) -> Program {
    match servers.next_failure().await {
        ServerFailure::Exited(exited) => {
            tracing::error!(
                program = %exited.program,
                status = %exited.status,
                log = %exited.log_path.display(),
                "a server exited unexpectedly, restarting it"
            );
            exited.program
        }
        ServerFailure::Stuck { program, reason } => {
            match program {
                Program::Nats => {
                    tracing::error!(reason, "nats-server rejects all writes, restarting it")
                }
                Program::Milvus => {
                    tracing::error!(reason, "Milvus does not recover, restarting it")
                }
            }
            program
        }
    }
}
