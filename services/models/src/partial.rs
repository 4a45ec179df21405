//! A download that is still incomplete: `FILE.part`, and the `ETag` of the file that it belongs to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::store::{cache_error, sync_parent};

pub(crate) struct PartialDownload {
    path: PathBuf,
    etag_path: PathBuf,
}

impl PartialDownload {
    pub(crate) fn new(folder: &Path, file_name: &str) -> Self {
        Self {
            path: folder.join(format!("{file_name}.part")),
            etag_path: folder.join(format!("{file_name}.part.etag")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes on disk; 0 if the file does not exist.
    pub(crate) fn len(&self) -> Result<u64, Error> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(cache_error(&self.path)(error)),
        }
    }

    pub(crate) fn etag(&self) -> Option<String> {
        std::fs::read_to_string(&self.etag_path).ok()
    }

    /// Stores the tag for `If-Range`, which accepts strong tags only: weak ones are dropped.
    pub(crate) fn record_etag(&self, etag: Option<&str>) -> Result<(), Error> {
        match etag.filter(|etag| etag.starts_with('"')) {
            Some(etag) => {
                std::fs::write(&self.etag_path, etag).map_err(cache_error(&self.etag_path))
            }
            None => remove_if_exists(&self.etag_path),
        }
    }

    /// Opens the file for appending, after deleting its contents if `truncate` is set.
    pub(crate) fn open_for_append(&self, truncate: bool) -> Result<File, Error> {
        std::fs::create_dir_all(self.path.parent().unwrap_or(&self.path))
            .map_err(cache_error(&self.path))?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .map_err(cache_error(&self.path))?;
        if truncate && self.len()? > 0 {
            file.set_len(0).map_err(cache_error(&self.path))?;
        }
        Ok(file)
    }

    pub(crate) fn delete_files(&self) -> Result<(), Error> {
        remove_if_exists(&self.path)?;
        remove_if_exists(&self.etag_path)
    }

    /// Gives the file its final name, durably. The caller has verified its checksum.
    pub(crate) fn move_into_place(&self, target: &Path) -> Result<(), Error> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(cache_error(&self.path))?;
        std::fs::rename(&self.path, target).map_err(cache_error(target))?;
        sync_parent(target)?;
        remove_if_exists(&self.etag_path)
    }
}

fn remove_if_exists(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cache_error(path)(error)),
        _ => Ok(()),
    }
}
