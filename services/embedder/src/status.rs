//! Publishes the worker's status.

use std::time::Duration;

use lookalike_bus::{Bus, EmbedderDevice, EmbedderDeviceState, EmbedderStatus};
use lookalike_vision::{DeviceState, DeviceStatus, Engine};
use tokio_util::sync::CancellationToken;

/// How often the status is compared with the published one.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An unchanged status is published at every so many checks.
const CHECKS_BETWEEN_REPEATS: u32 = 10;

/// Publishes the status at a change, at most once a second, and every ten seconds.
pub async fn publish_status(
    bus: Bus,
    current_status: impl Fn() -> EmbedderStatus,
    stop: CancellationToken,
) {
    let mut published = None;
    let mut checks = 0_u32;
    while !stop.is_cancelled() {
        let current = current_status();
        if published.as_ref() != Some(&current) || checks.is_multiple_of(CHECKS_BETWEEN_REPEATS) {
            match stop
                .run_until_cancelled(bus.publish_embedder_status(&current))
                .await
            {
                None => return,
                Some(Ok(())) => published = Some(current),
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot publish the status now");
                    published = None;
                }
            }
        }
        checks = checks.wrapping_add(1);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

/// Returns the devices of an engine as the status contains them.
pub fn list_devices(engine: &Engine) -> Vec<EmbedderDevice> {
    let devices = engine.device_statuses().into_iter();
    devices.map(convert_device).collect()
}

fn convert_device(status: DeviceStatus) -> EmbedderDevice {
    EmbedderDevice {
        name: status.device,
        hardware: status.description,
        state: match status.state {
            DeviceState::Opening => EmbedderDeviceState::Opening,
            DeviceState::Ready => EmbedderDeviceState::Ready,
            DeviceState::Standby => EmbedderDeviceState::Standby,
            DeviceState::Failed => EmbedderDeviceState::Failed,
        },
        problem: status.problem,
        max_batch: status.max_batch,
        embedded: status.embedded,
    }
}
