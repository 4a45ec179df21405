//! The settings struct.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use lookalike_chassis::telemetry;
use lookalike_client::{ServiceClient, usage_error};
use lookalike_models::ModelStore;
use lookalike_proto::LibraryName;
use serde::{Deserialize, Serialize};

use super::library::LibraryEntry;
use crate::libraries::expand_home;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Folder for catalog, queue, index and `up.json`; empty: `lookalike` in the platform's data
    /// folder.
    pub data_dir: String,
    /// Download nothing.
    pub offline: bool,
    /// URL of the service for commands; empty: that of the running `lookalike up`.
    pub url: String,
    /// The API key that commands send to the service.
    pub api_key: String,
    /// Libraries by name: each a root folder, or a table with `folder`, `uploads` and `deletions`.
    pub libraries: BTreeMap<String, LibraryEntry>,
    pub log: telemetry::Settings,
    /// For `up`, an empty url starts a server.
    pub nats: lookalike_bus::Settings,
    /// For `up`, an empty url starts a server.
    pub milvus: lookalike_index::Settings,
    pub vision: lookalike_vision::Settings,
    pub watch: lookalike_watcher::Settings,
    pub embed: lookalike_embedder::Settings,
    pub audit: lookalike_audit::Settings,
    pub http: lookalike_search::Settings,
    pub saved_searches: lookalike_search::SavedSearchSettings,
    pub webhooks: lookalike_search::WebhookSettings,
    pub uploads: lookalike_search::UploadSettings,
    pub models: lookalike_models::Settings,
    pub servers: lookalike_servers::Settings,
}

fn non_empty(url: &str, default: &str) -> String {
    match url {
        "" => default.to_owned(),
        url => url.to_owned(),
    }
}

impl Settings {
    /// Rejects values that no type excludes, as the roles do when they start.
    ///
    /// # Errors
    /// A usage error that names the setting.
    pub fn check_values(&self) -> Result<()> {
        self.log.check_values().map_err(usage_error)?;
        // `up` starts the servers that have no URL.
        let nats = lookalike_bus::Settings {
            url: non_empty(&self.nats.url, "nats://127.0.0.1:4222"),
            ..self.nats.clone()
        };
        nats.check_values().map_err(usage_error)?;
        let milvus = lookalike_index::Settings {
            url: non_empty(&self.milvus.url, "http://127.0.0.1:19530"),
            ..self.milvus.clone()
        };
        milvus.check_values().map_err(usage_error)?;
        for name in self.libraries.keys() {
            LibraryName::new(name).map_err(usage_error)?;
        }
        Ok(())
    }

    /// The root folders by library name, as they are written.
    pub fn library_folders(&self) -> BTreeMap<String, String> {
        let libraries = self.libraries.iter();
        libraries
            .map(|(name, library)| (name.clone(), library.folder.clone()))
            .collect()
    }

    pub fn data_dir(&self) -> Result<PathBuf> {
        if !self.data_dir.is_empty() {
            return Ok(expand_home(&self.data_dir));
        }
        dirs::data_dir()
            .map(|dir| dir.join("lookalike"))
            .ok_or_else(|| {
                usage_error(anyhow!(
                    "this system has no data folder: choose one with --data-dir"
                ))
            })
    }

    /// A client for the service at `url`, or for the running `lookalike up` with this data folder.
    pub fn connect_service(&self) -> Result<ServiceClient> {
        let data_dir = self.data_dir().ok();
        let service =
            ServiceClient::locate(&self.url, data_dir.as_deref(), !self.data_dir.is_empty())?;
        Ok(service.with_api_key(&self.api_key))
    }

    pub fn open_model_store(&self) -> Result<ModelStore> {
        ModelStore::open(self.servers.cache_dir.as_deref()).map_err(usage_error)
    }
}
