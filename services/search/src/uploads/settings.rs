//! The settings of the section `uploads`, and what they permit.

use lookalike_chassis::settings::size;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadSettings {
    /// Libraries that accept pictures over the API (`POST /v1/images`); `all`: every library. The
    /// table of a library switches it on as well: `uploads = true`.
    pub allow: Vec<String>,
    /// Libraries whose pictures the API may move to the trash (`DELETE /v1/images/{id}`); `all`:
    /// every library. The table of a library switches it on as well: `deletions = true`.
    pub allow_deletions: Vec<String>,
    /// The largest picture that is accepted. Pictures above `watch.max_file_bytes` are stored, but not
    /// indexed.
    #[serde(with = "size")]
    pub max_bytes: u64,
    /// The folder to which deleted pictures move; empty: `trash` in the data folder. No library may
    /// contain it. Nothing is removed from it automatically.
    pub trash_dir: String,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            allow_deletions: Vec::new(),
            max_bytes: 256 << 20,
            trash_dir: String::new(),
        }
    }
}

/// What the API may do with the files of one library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LibraryPermissions {
    pub uploads: bool,
    pub deletions: bool,
}
