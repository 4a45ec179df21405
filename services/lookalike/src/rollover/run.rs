//! Runs `models use` from the arguments to the exit.

use std::time::Duration;

use anyhow::Result;
use lookalike_bus::Bus;
use lookalike_chassis::shutdown;
use lookalike_index::Collections;
use tokio_util::sync::CancellationToken;

use super::activate::roll_over_to;
use super::drop_old::drop_old_collections;
use super::lease::take_rollover_lease;
use super::rollback::roll_back;
use super::session::RolloverSession;
use super::sheet::check_sheet_path;
use crate::cli::ModelsUseArgs;
use crate::connect::{locate_servers, open_bus};
use crate::settings::Settings;

/// How long the lease may take to be released at the end.
const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs `models use`. If it fails, running it again resumes it.
pub async fn run_models_use(settings: &Settings, args: &ModelsUseArgs) -> Result<()> {
    if let Some(path) = &args.sheet {
        check_sheet_path(path)?;
    }
    let settings = locate_servers(settings)?;
    let (bus, collections) = tokio::try_join!(open_bus(&settings, "models use"), async {
        Ok(Collections::open(&settings.milvus).await?)
    })?;
    let shutdown = shutdown::cancel_on_signal()?;
    let finished = CancellationToken::new();
    let status = bus.watch_status(finished.clone());
    let session = RolloverSession::new(settings, args, bus, status, collections);
    let mut lease = None;
    let work = async {
        lease = Some(take_rollover_lease(&session, &finished).await?);
        match &args.model {
            Some(model) => roll_over_to(&session, model).await,
            None if args.rollback => roll_back(&session).await,
            None => drop_old_collections(&session).await,
        }
    };
    let result = tokio::select! {
        result = work => result,
        () = shutdown.cancelled() => Err(session.interrupted_error()),
    };
    session.progress.clear_bar();
    finished.cancel();
    release(lease, &session.bus).await;
    result
}

/// Releases the lease, so that the next command need not wait until it expires, and disconnects.
async fn release(lease: Option<tokio::task::JoinHandle<()>>, bus: &Bus) {
    if let Some(lease) = lease {
        let _ = tokio::time::timeout(LEASE_RELEASE_TIMEOUT, lease).await;
    }
    bus.close().await;
}
