//! Chooses how `confirm` reaches the watcher.

use anyhow::Result;
use lookalike_client::confirm::{self, ConfirmArgs, WatcherRoute};

use crate::connect::open_bus;
use crate::settings::Settings;

/// Uses the service, unless only a NATS server is named: a watcher may run without a service.
pub async fn run_confirm(settings: &Settings, args: &ConfirmArgs) -> Result<()> {
    let route = if settings.nats.url.is_empty() || !settings.url.is_empty() {
        WatcherRoute::Service(settings.connect_service()?)
    } else {
        WatcherRoute::Bus(Box::new(open_bus(settings, "confirm").await?))
    };
    confirm::run_confirm(route, args).await
}
