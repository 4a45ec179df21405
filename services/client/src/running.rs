//! `up.json`: where the services of a running `lookalike up` listen.

use std::fs::File;
use std::path::Path;

use lookalike_chassis::durable::replace_secret_file;
use serde::{Deserialize, Serialize};

/// The contents of `up.json` in the data folder.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunningInstance {
    pub pid: u32,
    /// Base URL of the page and the API.
    pub url: String,
    pub nats_url: String,
    pub milvus_url: String,
}

impl RunningInstance {
    pub const FILE_NAME: &'static str = "up.json";

    /// Reads the file if the process that wrote it is alive: while it runs, it holds the lock of
    /// the data folder.
    pub fn find_live(data_dir: &Path) -> Option<Self> {
        let lock = File::open(data_dir.join(lookalike_servers::LOCK_FILE)).ok()?;
        if lock.try_lock_shared().is_ok() {
            return None;
        }
        serde_json::from_slice(&std::fs::read(data_dir.join(Self::FILE_NAME)).ok()?).ok()
    }

    /// Writes the file, readable by its owner only: the URLs may contain passwords.
    pub fn write_to(&self, data_dir: &Path) -> std::io::Result<()> {
        replace_secret_file(
            &data_dir.join(Self::FILE_NAME),
            &serde_json::to_vec_pretty(self)?,
        )
    }

    pub fn remove_from(data_dir: &Path) {
        let _ = std::fs::remove_file(data_dir.join(Self::FILE_NAME));
    }
}
