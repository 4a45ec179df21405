//! Connections to NATS and Milvus.

use anyhow::{Result, anyhow};
use lookalike_bus::Bus;
use lookalike_client::{RunningInstance, usage_error};
use lookalike_index::{ErrorClass, Index, ModelSource};
use lookalike_vision::Description;

use crate::model::model_identity;
use crate::settings::Settings;

/// Connects a role, and creates its streams and buckets.
pub async fn connect_bus(settings: &Settings, role: &str) -> Result<Bus> {
    Ok(Bus::connect(&settings.nats, role).await?)
}

/// Connects a command, which creates nothing in NATS.
pub async fn open_bus(settings: &Settings, command: &str) -> Result<Bus> {
    Ok(Bus::open(&settings.nats, command).await?)
}

/// Opens the index for a model.
///
/// # Errors
/// A usage error if the index belongs to another model.
pub async fn open_index(
    settings: &Settings,
    description: &Description,
    source: &ModelSource,
) -> Result<Index> {
    let index =
        Index::open_with_source(&settings.milvus, &model_identity(description), source).await;
    index.map_err(|error| match error.class() {
        ErrorClass::Fatal => usage_error(error),
        _ => error.into(),
    })
}

/// Fills in the URLs of NATS and Milvus that the settings lack, from the running `lookalike up`.
pub fn locate_servers(settings: &Settings) -> Result<Settings> {
    let mut settings = settings.clone();
    if settings.nats.url.is_empty() || settings.milvus.url.is_empty() {
        let data_dir = settings.data_dir().ok();
        let running = data_dir.and_then(|dir| RunningInstance::find_live(&dir));
        let running = running.ok_or_else(|| {
            usage_error(anyhow!(
                "no `lookalike up` runs with this data folder: give --data-dir, or --nats-url and \
                 --milvus-url"
            ))
        })?;
        if settings.nats.url.is_empty() {
            settings.nats.url = running.nats_url;
        }
        if settings.milvus.url.is_empty() {
            settings.milvus.url = running.milvus_url;
        }
    }
    Ok(settings)
}
